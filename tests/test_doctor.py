"""The doctor: each fault that is planted is named, and the very command that it gives mends it."""

import json
import os
import resource
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from subprocess import run
from uuid import uuid4

import anyio
import anyio.abc
import anyio.to_thread
import asyncpg
import pytest

from progress_service.doctor import address, rights
from progress_service.doctor.finding import Finding, Verdict
from progress_service.doctor.rounds import rounds
from progress_service.jobs.schema import apply_schema, schema_text
from tests.postgres import before_the_rules, connected
from tests.running import SECRET, ready, running
from tests.running import token as token_for

pytestmark = pytest.mark.anyio

APPLY = "progress-service schema --apply"
NEW_JOB = "INSERT INTO bulk_enrichment_jobs (user_id, status) VALUES ($1, 'running') RETURNING id"
WELL_ORDERED = (
    "open files",
    "tokens",
    "database",
    "table",
    "triggers",
    "rules",
    "rows",
    "our role",
    "LISTEN",
)


async def examined(dsn: str, *, url: str | None = None, token: str | None = None) -> dict[str, Finding]:
    """What the doctor finds, by subject."""
    looks = rounds(dsn, has_secret=True, jwks_url=None, url=url, token=token)
    return {finding.subject: finding async for finding in looks}


async def apply(dsn: str) -> None:
    """What `progress-service schema --apply` does."""
    await apply_schema(dsn, schema_text())


async def test_nothing_is_wrong_where_nothing_is(dsn: str) -> None:
    """A doctor who finds faults in the healthy is not asked again."""
    async with connected(dsn) as connection:
        await connection.execute(NEW_JOB, uuid4())
    found = await examined(dsn)
    assert {finding.verdict for finding in found.values()} <= {Verdict.WELL, Verdict.NOTE}
    assert set(WELL_ORDERED) <= set(found)
    assert found["hints"].said == "a written row sent its hint at once"
    async with connected(dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM bulk_enrichment_jobs") == 1


MUTE = """
    CREATE OR REPLACE FUNCTION bulk_enrichment_jobs_bump_revision() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN RETURN NEW; END'
"""
FAULTS = {
    "table is missing": ("DROP TABLE bulk_enrichment_jobs CASCADE", "table", APPLY),
    "column is missing": ("ALTER TABLE bulk_enrichment_jobs DROP COLUMN lease_token CASCADE", "table", APPLY),
    "trigger is missing": ("DROP TRIGGER notify_delete ON bulk_enrichment_jobs", "triggers", APPLY),
    "trigger is disabled": (
        "ALTER TABLE bulk_enrichment_jobs DISABLE TRIGGER zz_bump_revision",
        "triggers",
        "ALTER TABLE bulk_enrichment_jobs ENABLE TRIGGER zz_bump_revision;",
    ),
    "rule is missing": (
        "ALTER TABLE bulk_enrichment_jobs DROP CONSTRAINT progress_has_at_most_64_kib",
        "rules",
        APPLY,
    ),
    "index of exclusive jobs is missing": ("DROP INDEX one_exclusive_job_at_a_time", "exclusive jobs", APPLY),
    "row-level security is off": (
        "ALTER TABLE bulk_enrichment_jobs DISABLE ROW LEVEL SECURITY",
        "who sees what",
        "ALTER TABLE bulk_enrichment_jobs ENABLE ROW LEVEL SECURITY;",
    ),
    "policy is missing": ("DROP POLICY owner_only ON bulk_enrichment_jobs", "who sees what", APPLY),
    "a policy shows everything": (
        "CREATE POLICY everyone ON bulk_enrichment_jobs FOR SELECT USING (true)",
        "who sees what",
        "DROP POLICY everyone ON bulk_enrichment_jobs;",
    ),
    "people may not read": (
        "REVOKE ALL ON bulk_enrichment_jobs FROM authenticated",
        "who sees what",
        rights.GRANT,
    ),
    "hints are cut": (MUTE, "hints", APPLY),
}


@pytest.mark.parametrize(("fault", "subject", "remedy"), FAULTS.values(), ids=FAULTS)
async def test_a_fault_is_named_and_its_remedy_mends_it(
    dsn: str, fault: str, subject: str, remedy: str
) -> None:
    """Each fault is wrong with its remedy, and the remedy makes it well."""
    async with connected(dsn) as connection:
        await connection.execute(NEW_JOB, uuid4())
        await connection.execute(fault)
        found = (await examined(dsn))[subject]
        assert (found.verdict, found.remedy) == (Verdict.WRONG, remedy)
        if remedy == APPLY:
            await apply(dsn)
        else:
            await connection.execute(remedy)
        after = (await examined(dsn)).get(subject)
        assert after is None or after.verdict is Verdict.WELL


async def test_a_rule_that_older_rows_may_break_is_named(dsn: str) -> None:
    """A constraint that is not validated is a note with its name."""
    async with connected(dsn) as connection:
        await connection.execute(NEW_JOB, uuid4())
        async with before_the_rules(connection):
            pass
        found = (await examined(dsn))["rules"]
    assert found.verdict is Verdict.NOTE
    assert found.said.startswith("not validated: progress_has_at_most_64_kib;")


async def test_a_row_that_cannot_be_shown_is_named(dsn: str) -> None:
    """An active job with a wrong count is named with the reason."""
    async with connected(dsn) as connection:
        job_id = await connection.fetchval(NEW_JOB, uuid4())
        await connection.execute('UPDATE bulk_enrichment_jobs SET progress = \'{"total": "many"}\'')
        found = (await examined(dsn))["rows"]
    assert found.verdict is Verdict.WRONG
    assert f"{job_id}: progress.total is 'many'" in found.said
    assert str(job_id) in found.remedy


async def test_one_check_that_fails_does_not_stop_the_others(dsn: str) -> None:
    """A date that Python cannot hold is one finding, and every later check runs."""
    async with connected(dsn) as connection:
        await connection.execute(NEW_JOB, uuid4())
        async with before_the_rules(connection):
            await connection.execute("UPDATE bulk_enrichment_jobs SET created_at = '0100-01-01 BC'")
        found = await examined(dsn)
    assert found["rows"].said.startswith("the check failed: ")
    assert {"our role", "who sees what", "LISTEN", "hints", "log"} <= set(found)


async def test_hints_that_are_switched_off_are_no_fault(dsn: str) -> None:
    """After `schema --apply --feed wal`, triggers and hints are well."""
    async with connected(dsn) as connection:
        await connection.execute(NEW_JOB, uuid4())
    await apply_schema(dsn, schema_text("wal"))
    found = await examined(dsn)
    assert {found[subject].verdict for subject in ("triggers", "hints")} == {Verdict.WELL}


async def test_a_missing_role_is_named(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the role that people act as does not exist, the finding has the SQL that creates it."""
    monkeypatch.setattr(rights, "PEOPLE", rights.PEOPLE.replace("'authenticated'", "'not_there'"))
    found = (await examined(dsn))["who sees what"]
    assert found.verdict is Verdict.WRONG
    assert found.remedy.startswith("CREATE ROLE authenticated NOLOGIN; GRANT authenticated TO postgres;")


@asynccontextmanager
async def role(dsn: str) -> AsyncIterator[tuple[str, str]]:
    """A role that is no superuser, and its DSN; it goes in the end."""
    name = f"plain_{uuid4().hex[:12]}"
    async with connected(dsn) as connection:
        await connection.execute(f"CREATE ROLE {name} LOGIN; GRANT ALL ON SCHEMA public TO {name}")
        try:
            yield name, dsn.replace("postgres@", f"{name}@")
        finally:
            await connection.execute(
                f"REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}; DROP ROLE {name}"
            )


async def test_a_role_that_is_blind_to_rows(dsn: str) -> None:
    """Row-level security gives no error, only silence: the commonest reason for a bar that does not move."""
    async with connected(dsn) as connection, role(dsn) as (name, plain_dsn):
        await connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON bulk_enrichment_jobs TO {name}")
        found = (await examined(plain_dsn))["our role"]
        assert found.verdict is Verdict.WRONG
        assert found.remedy == f"ALTER TABLE bulk_enrichment_jobs OWNER TO {name};"
        await connection.execute(found.remedy)
        await connection.execute("ALTER TABLE bulk_enrichment_jobs FORCE ROW LEVEL SECURITY")
        found = (await examined(plain_dsn))["our role"]
        assert found.remedy == "ALTER TABLE bulk_enrichment_jobs NO FORCE ROW LEVEL SECURITY;"
        await connection.execute(found.remedy)

        after = await examined(plain_dsn)
        assert after["our role"].verdict is Verdict.WELL
        assert after["who sees what"].remedy == f"GRANT authenticated TO {name};"
        assert after["log"].remedy == f"ALTER ROLE {name} REPLICATION; -- only for PROGRESS_FEED=wal"
        await connection.execute(after["who sees what"].remedy)
        assert (await examined(plain_dsn))["who sees what"].verdict is Verdict.WELL


async def test_a_role_whose_sessions_fire_no_trigger(dsn: str) -> None:
    """Somebody set it for an import, and forgot."""
    async with connected(dsn) as connection:
        name = f"silent_{uuid4().hex[:12]}"
        await connection.execute(
            f"CREATE ROLE {name} LOGIN SUPERUSER; ALTER ROLE {name} SET session_replication_role = replica"
        )
        try:
            found = (await examined(dsn.replace("postgres@", f"{name}@")))["triggers"]
            assert found.remedy == f"ALTER ROLE {name} RESET session_replication_role;"
        finally:
            await connection.execute(f"DROP ROLE {name}")


async def test_a_log_without_a_publication_or_with_every_slot_taken(dsn: str) -> None:
    """The feed `wal` would fall back; the operator should know why."""
    async with connected(dsn) as connection:
        await connection.execute("DROP PUBLICATION progress_service")
        found = (await examined(dsn))["log"]
        assert (found.verdict, found.remedy) == (Verdict.NOTE, APPLY)
        await apply(dsn)
        assert (await examined(dsn))["log"].verdict is Verdict.WELL
        slots = int(await connection.fetchval("SHOW max_replication_slots"))
        names = [f"taken_{number}_{uuid4().hex[:8]}" for number in range(slots)]
        made = []
        try:
            for name in names:
                await connection.execute("SELECT pg_create_physical_replication_slot($1)", name)
                made.append(name)
        except asyncpg.ConfigurationLimitExceededError:
            pass  # Another test's slot counts too.
        try:
            found = (await examined(dsn))["log"]
            assert found.remedy.startswith("SELECT pg_drop_replication_slot('")
        finally:
            for name in made:
                await connection.execute("SELECT pg_drop_replication_slot($1)", name)


@pytest.mark.parametrize(
    ("dsn_of", "remedy"),
    [
        (lambda _: "postgresql://nobody@127.0.0.1:1/app", "start PostgreSQL there"),
        (lambda dsn: dsn.replace("@/", "@/not_"), "createdb"),
        (lambda dsn: dsn.replace("postgres@", "nobody_at_all@"), "correct user and password"),
        (lambda _: "postgresql://[", "DATABASE_URL is like"),
    ],
    ids=["nobody listens", "no such database", "no such user", "no DSN"],
)
async def test_a_database_that_cannot_be_reached(dsn: str, dsn_of: Callable[[str], str], remedy: str) -> None:
    """Whoever reads it knows whose turn it is."""
    found = (await examined(dsn_of(dsn)))["database"]
    assert found.verdict is Verdict.WRONG
    assert found.remedy.startswith(remedy)


@pytest.mark.parametrize("kind", ["nobody listens", "no key", "a key set"])
async def test_keys_for_tokens(dsn: str, kind: str) -> None:
    """Without a key everybody is refused, and each page says only that its user is signed out."""
    if kind == "no key":
        looks = rounds(dsn, has_secret=False, jwks_url=None)
    else:
        looks = rounds(dsn, has_secret=False, jwks_url="http://127.0.0.1:1/jwks.json")
    found = {finding.subject: finding async for finding in looks}["tokens"]
    assert found.verdict is Verdict.WRONG
    assert found.remedy.startswith(
        "PROGRESS_JWT_SECRET" if kind == "no key" else "curl -sS http://127.0.0.1:1/"
    )


async def test_a_stream_comes_through(dsn: str) -> None:
    """The way from a browser is well."""
    async with ready(dsn) as service:
        found = await examined(dsn, url=service.address, token=token_for(uuid4()))
    assert {found[subject].verdict for subject in ("address", "readiness", "stream")} == {Verdict.WELL}


async def test_a_stream_that_is_refused(dsn: str) -> None:
    """The page's tokens are signed with another secret than the service knows."""
    async with ready(dsn) as service:
        found = await examined(dsn, url=service.address, token=token_for(uuid4())[:-8] + "AAAAAAAA")
        untried = await examined(dsn, url=service.address)
    assert found["stream"].verdict is Verdict.WRONG
    assert "refused with 401" in found["stream"].said
    assert untried["stream"].verdict is Verdict.NOTE


async def test_a_service_that_is_not_ready(dsn: str) -> None:
    """It answers, and knows nothing yet."""
    async with running("postgresql://nobody@127.0.0.1:1/app") as service:
        found = await examined(dsn, url=service.address)
    assert found["address"].verdict is Verdict.WELL
    assert found["readiness"].said.startswith("/readyz answers 503")


async def test_an_address_where_nobody_or_somebody_else_answers(dsn: str) -> None:
    """A wrong port, or a proxy that sends the path elsewhere."""
    found = await examined(dsn, url="http://127.0.0.1:1")
    assert found["address"].verdict is Verdict.WRONG
    async with ready(dsn) as service:
        found = await examined(dsn, url=f"{service.address}/elsewhere")
    assert found["address"].said == "/healthz answers 404 Not Found"


@asynccontextmanager
async def proxy(target: str, change: Callable[[bytes], bytes | None]) -> AsyncIterator[str]:
    """What stands between a browser and the service at *target*, and does something to what comes back."""
    host, _, port = target.removeprefix("http://").partition(":")

    async def carry(client: anyio.abc.SocketStream) -> None:
        async with client, await anyio.connect_tcp(host, int(port)) as service:
            await service.send(await client.receive())
            async for piece in service:
                changed = change(piece)
                if changed is not None:
                    await client.send(changed)

    listeners = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port_here = listeners.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - this is not Django's.
    async with listeners, anyio.create_task_group() as tasks:
        tasks.start_soon(listeners.serve, carry)
        yield f"http://127.0.0.1:{port_here}"
        tasks.cancel_scope.cancel()


def kept_back(piece: bytes) -> bytes | None:
    """Keep back what belongs to a stream, as a proxy that waits for the end of each answer does."""
    return None if b"event-stream" in piece or b"event:" in piece else piece


def compressed(piece: bytes) -> bytes:
    """Say of an event stream that it is compressed."""
    return piece.replace(
        b"content-type: text/event-stream", b"content-encoding: gzip\r\ncontent-type: text/event-stream"
    )


def retyped(piece: bytes) -> bytes:
    """Say of an event stream that it is a page."""
    return piece.replace(b"content-type: text/event-stream; charset=utf-8", b"content-type: text/html")


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (kept_back, "nginx: proxy_buffering off"),
        (compressed, "leave text/event-stream out"),
        (retyped, "have the proxy"),
    ],
)
async def test_a_proxy_that_spoils_the_stream(
    dsn: str, change: Callable[[bytes], bytes | None], remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works on the developer's machine, and stands still in production."""
    monkeypatch.setattr(address, "FRAME_SECONDS_MAX", 1.0)
    async with ready(dsn) as service, proxy(service.address, change) as url:
        found = await examined(dsn, url=url, token=token_for(uuid4()))
    assert found["stream"].verdict is Verdict.WRONG
    assert found["stream"].remedy.startswith(remedy)


async def test_the_command_tells_everything_and_ends_with_1_if_anything_is_wrong(dsn: str) -> None:
    """Scripts look at the exit status, and people at the words."""

    def told(*arguments: str) -> tuple[int, str]:
        environment = {**os.environ, "DATABASE_URL": dsn, "PROGRESS_JWT_SECRET": SECRET}
        command = [sys.executable, "-m", "progress_service", "doctor", *arguments]
        limit = (1_024, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        done = run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit),
        )
        return done.returncode, done.stdout

    async with ready(dsn) as service, connected(dsn) as connection:
        code, text = await anyio.to_thread.run_sync(told, "--url", service.address)
        assert (code, "its first frame came after" in text) == (0, True)
        assert "→ ulimit -n " in text
        await connection.execute("ALTER TABLE bulk_enrichment_jobs DISABLE TRIGGER notify_delete")
        code, text = await anyio.to_thread.run_sync(told, "--json")
    assert code == 1
    findings = [json.loads(line) for line in text.splitlines()]
    assert [finding["remedy"] for finding in findings if finding["verdict"] == "wrong"] == [
        "ALTER TABLE bulk_enrichment_jobs ENABLE TRIGGER notify_delete;"
    ]
