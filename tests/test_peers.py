"""The peers that ours is compared with: who is absent says so, and who is present does the same work."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import anyio
import asyncpg
import pytest

from loadtest.peers import InstallError, Peer, Running, bridged, centrifugo, nchan, ours, peers
from loadtest.peers.better_sse import PACKAGES, BetterSse
from loadtest.peers.peer import PROGRAMS, carry_out
from loadtest.peers.piped import piped
from loadtest.process import cores
from loadtest.reader import EVENT, OURS
from loadtest.writers import BARE, ROW
from tests.postgres import connected

ADA, GRACE = (f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2))
NEW_JOB = """
    INSERT INTO bulk_enrichment_jobs (user_id, progress) VALUES ($1, '{"total": 9, "completed": 0}')
    RETURNING id
"""
UPDATE = """
    UPDATE bulk_enrichment_jobs SET progress = progress || jsonb_build_object('completed', $2::int)
    WHERE id = $1
"""


def peer(name: str) -> Peer:
    """The peer of that name."""
    return {peer.name: peer for peer in peers()}[name]


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing was installed for peers; the folder where it would be."""
    monkeypatch.setenv("PROGRESS_PEERS_FOLDER", str(tmp_path))
    monkeypatch.setattr(nchan, "NEEDED", (tmp_path / "nchan.so",))
    monkeypatch.setattr(centrifugo, "go", lambda: None)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("better-sse", "from npm, better-sse and pg must be installed"),
        ("nchan", "Debian's packages nginx and libnginx-mod-nchan must be installed"),
        ("django-eventstream", "from PyPI, django and django-eventstream must be installed"),
        ("centrifugo", "there is no Go toolchain"),
        ("mercure", "refused its module"),
    ],
)
@pytest.mark.usefixtures("nothing_installed")
def test_an_absent_peer_says_what_is_missing(name: str, why: str) -> None:
    """Whoever repeats the figures has to know which of them are missing, and what to do."""
    assert why in (peer(name).absent() or "")


def test_what_needs_nothing_is_always_present() -> None:
    """Ours and the tutorial's service are compared wherever Python is."""
    assert [each.name for each in (ours(), *peers()) if each.absent() is None][:2] == ["ours", "plain"]


def test_a_peer_of_another_version_is_absent(nothing_installed: Path) -> None:
    """Figures beside a version are not those of any other."""
    for name, version in PACKAGES.items():
        package = nothing_installed / "better-sse" / "node_modules" / name / "package.json"
        package.parent.mkdir(parents=True)
        package.write_text(json.dumps({"version": version}), "utf-8")
    assert BetterSse().absent() is None
    package.write_text(json.dumps({"version": "1.0.0"}), "utf-8")
    assert BetterSse().absent() == "from npm, pg must be installed"


def test_a_failed_step_of_an_installation_is_told() -> None:
    """An installation that fails in silence leaves a peer that is absent for no reason."""
    with pytest.raises(InstallError, match="ended with status 3"):
        carry_out([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(InstallError, match="no-such-program does not start"):
        carry_out(["no-such-program"])


def test_the_table_names_every_peer() -> None:
    """The first thing that somebody asks is what is compared here."""
    shown = subprocess.run(
        [sys.executable, "-m", "loadtest.peers"], capture_output=True, text=True, check=True
    )
    for each in peers():
        assert each.name in shown.stdout
    unknown = subprocess.run(
        [sys.executable, "-m", "loadtest.peers", "pushpin"], capture_output=True, text=True, check=False
    )
    assert unknown.returncode == 2
    assert "no peer is called pushpin" in unknown.stderr


def test_fanout_names_who_is_absent() -> None:
    """A comparison that leaves out a peer in silence is taken for one without it."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "loadtest", "fanout", "--streams", "25", "--seconds", "0.1"),
            *("--runs", "1", "--peers", "mercure"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ours: frames read" in done.stdout
    assert "mercure is absent: " in done.stdout


@contextmanager
def listening(running: Running, user_id: str) -> Iterator[socket.socket]:
    """A stream of that user, which is open."""
    with closing(socket.create_connection(("127.0.0.1", running.port))) as stream:
        stream.sendall(running.request(user_id))
        until(stream, running.look.opening)
        yield stream


def until(stream: socket.socket, awaited: bytes) -> bytes:
    """Everything up to the piece that has *awaited* in it."""
    stream.settimeout(20)
    read = b""
    while awaited not in read:
        piece = stream.recv(65_536)
        assert piece, f"the stream ended after {read!r}"
        read += piece
    return read


@pytest.mark.parametrize("name", ["ours", "plain"])
def test_a_service_has_a_core_and_whoever_measures_it_keeps_the_other(name: str) -> None:
    """On one core both would wait for each other, and the figures would be half of the truth."""
    chosen = ours() if name == "ours" else peer(name)
    before, (_, core) = os.sched_getaffinity(0), cores()
    with chosen.running(core) as running:
        assert os.sched_getaffinity(0) == before
        assert os.sched_getaffinity(running.processes[0]) == set(core or before)


@pytest.mark.parametrize("name", ["ours", "plain"])
def test_what_is_published_is_sent(name: str) -> None:
    """Both are told by the same call, so that one loop measures them."""
    chosen = ours() if name == "ours" else peer(name)
    with chosen.running() as running, listening(running, ADA) as stream:
        running.publish(ADA, [b'{"progress":{"completed":1}}'])
        assert f"event: {EVENT}".encode() in until(stream, b'"completed":1')
        used = running.usage()
        assert used.bytes > 10_000_000
        assert used.seconds > 0


async def changed(dsn: str) -> tuple[str, str]:
    """A job of Grace's and one of Ada's, each with a change; their ids."""
    connection = await asyncpg.connect(dsn)
    ids = []
    for number, user_id in ((7, GRACE), (8, ADA)):
        ids.append(await connection.fetchval(NEW_JOB, user_id))
        await connection.execute(UPDATE, ids[-1], number)
    await connection.close()
    return str(ids[0]), str(ids[1])


async def executed(dsn: str, statements: str) -> None:
    """Run statements on a connection of their own."""
    async with connected(dsn) as connection:
        await connection.execute(statements)


def test_the_plain_service_tells_each_user_of_their_own_rows(empty_dsn: str) -> None:
    """A peer that sends everybody everything, or nothing, is no comparison for a service that does not."""
    anyio.run(executed, empty_dsn, BARE + ROW)
    with peer("plain").running(dsn=empty_dsn) as running, listening(running, ADA) as stream:
        hers_not, hers = anyio.run(changed, empty_dsn)
        told = until(stream, b'"completed":8').decode()
        assert set(re.findall(r'"id":"([^"]*)"', told)) == {hers}
        assert hers_not not in told
    with peer("plain").running(dsn=empty_dsn) as running, listening(running, GRACE) as stream:
        anyio.run(touched, empty_dsn, hers_not)
        assert hers_not in until(stream, b'"completed":9').decode()


async def touched(dsn: str, job_id: str) -> None:
    """One more change of a job."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(UPDATE, job_id, 9)
    await connection.close()


def test_the_bridge_posts_each_row_to_its_users_channel(empty_dsn: str) -> None:
    """Two peers hear of a row by this alone; a row lost here would be laid at their door."""
    posts: list[tuple[str, dict[str, object]]] = []

    class Server(ThreadingHTTPServer):
        # The bridge keeps its connections open for as long as it runs.
        daemon_threads, block_on_close = True, False

    class Taking(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()
            posts.append((self.path, json.loads(body)))
            if len(posts) == 4:
                Thread(target=server.shutdown).start()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    anyio.run(executed, empty_dsn, BARE + ROW)
    with Server(("127.0.0.1", 0), Taking) as server:
        told = bridged.told(
            server.server_address[1],
            bridged.Way(str, "/publish/{user_id}", OURS, ('{"channel":"{user_id}","job":', "}")),
        )
        command = [sys.executable, str(PROGRAMS / "bridge.py")]
        with piped(command, "", OURS, core=(), dsn=empty_dsn, environment=told):
            hers_not, hers = anyio.run(changed, empty_dsn)
            server.serve_forever()
    ids = {GRACE: hers_not, ADA: hers}
    assert [path for path, _ in posts].count(f"/publish/{ADA}") == 2
    assert [path for path, _ in posts].count(f"/publish/{GRACE}") == 2
    for user_id, number in ((GRACE, 7), (ADA, 8)):
        bodies = [body for path, body in posts if path == f"/publish/{user_id}"]
        assert [body["channel"] for body in bodies] == [user_id, user_id]
        jobs = [body["job"] for body in bodies]
        assert [job["id"] for job in jobs if isinstance(job, dict)] == [ids[user_id], ids[user_id]]
        assert [job["progress"]["completed"] for job in jobs if isinstance(job, dict)] == [0, number]
