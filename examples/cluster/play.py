"""A cluster on one machine, and a page to break it from: `make demo-cluster`.

    browser ─ HTTP/2 ─▶ Caddy ─▶ edge 1, 2, 3 ◀─ NATS ◀─ relay 1, 2 ◀─ PostgreSQL ◀─ simulated jobs

Everything is the real thing, and each part a process. What is killed, from the page or by hand, is started
again after a moment.
"""

import argparse
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from subprocess import PIPE, STDOUT

import anyio
import jwt
import uvicorn
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from progress_service.demo.play import PREPARE, USER_ID
from progress_service.demo.simulated import run_jobs
from progress_service.embedded import embedded_postgres
from progress_service.jobs.schema import apply_schema, schema_text

HERE = Path(__file__).parent
PROGRAMS = Path(sys.executable).parent
SERVICE = (sys.executable, "-m", "progress_service")
TOKEN_SECONDS = 12 * 3600
DEAD_SECONDS = 1.0
FROZEN_SECONDS = 6.0
RELAYS, EDGES = 2, 3


class Part:
    """One process of the cluster, which is started again whenever it has ended."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.state = "starting"
        self.is_live = anyio.Event()
        self._command = command
        self._environment = environment
        self._process: Process | None = None

    async def run(self) -> None:
        """Keep it alive until cancelled."""
        while True:
            async with await anyio.open_process(
                self._command, env={**os.environ, **self._environment}, stdout=PIPE, stderr=STDOUT
            ) as self._process:
                try:
                    await self._listen(self._process)
                finally:
                    if self._process.returncode is None:
                        self._process.kill()
            self.state = "dead"
            await anyio.sleep(DEAD_SECONDS)

    async def fail(self, how: str) -> None:
        """Kill it, or have it stand still for a while."""
        if self._process is None or self._process.returncode is not None:
            return
        if how == "kill":
            self._process.kill()
            return
        before, self.state = self.state, "frozen"
        self._process.send_signal(signal.SIGSTOP)
        await anyio.sleep(FROZEN_SECONDS)
        self._process.send_signal(signal.SIGCONT)
        self.state = "waits" if before == "leads" else before

    async def _listen(self, process: Process) -> None:
        assert process.stdout is not None
        self.state = "runs"
        async for text in TextReceiveStream(process.stdout, errors="replace"):
            for line in text.splitlines():
                print(f"{self.name:<9}{line}", file=sys.stderr)
                if "this relay leads, in term" in line:
                    self.state = "leads"
                elif "changes are followed" in line and self.state == "runs":
                    self.state = "waits"
                elif "the relay's feed is live" in line:
                    self.is_live.set()


def parts(dsn: str, port: int, control_port: int) -> tuple[list[Part], Mapping[str, str]]:
    """Every process but PostgreSQL, and the secret that they share."""
    nats_port, *edge_ports = [free_port() for _ in range(1 + EDGES)]
    nats = f"nats://127.0.0.1:{nats_port}"
    shared = {"DATABASE_URL": dsn, "PROGRESS_JWT_SECRET": secrets.token_urlsafe(48)}
    proxy = {
        "DEMO_PORT": str(port),
        "DEMO_PAGE": str(HERE / "page"),
        "DEMO_CONTROL": f"127.0.0.1:{control_port}",
        "DEMO_EDGES": " ".join(f"127.0.0.1:{port}" for port in edge_ports),
    }
    nats_command = [str(PROGRAMS / "nats-server"), "--addr", "127.0.0.1", "--port", str(nats_port)]
    caddy_command = [str(PROGRAMS / "caddy"), "run", "--config", str(HERE / "Caddyfile")]
    relays = [
        Part(f"relay {number}", [*SERVICE, "relay", "--nats", nats], shared)
        for number in range(1, RELAYS + 1)
    ]
    edges = [
        Part(f"edge {number}", [*SERVICE, "serve", "--port", str(port)], shared | {"PROGRESS_FEED": nats})
        for number, port in enumerate(edge_ports, 1)
    ]
    return [
        Part("nats", nats_command, {}),
        *relays,
        *edges,
        Part("caddy", [*caddy_command, "--adapter", "caddyfile"], proxy),
    ], {
        "secret": shared["PROGRESS_JWT_SECRET"],
        **{f"127.0.0.1:{p}": f"edge {n}" for n, p in enumerate(edge_ports, 1)},
    }


def control(cluster: Mapping[str, Part], known: Mapping[str, str]) -> Starlette:
    """What the page asks: how the parts do, a token for the one user, and that one of them fail."""

    async def state(_: Request) -> Response:
        listed = [{"name": part.name, "state": part.state} for part in cluster.values()]
        edges = {address: name for address, name in known.items() if address != "secret"}
        return JSONResponse({"parts": listed, "edges": edges}, headers={"Cache-Control": "no-store"})

    async def token(_: Request) -> Response:
        claims = {"sub": USER_ID, "exp": time.time() + TOKEN_SECONDS}
        return PlainTextResponse(jwt.encode(claims, known["secret"]), headers={"Cache-Control": "no-store"})

    async def fail(request: Request) -> Response:
        part = cluster.get(request.path_params["name"])
        # A header of our own cannot be sent by the page of another site.
        if part is None or "x-demo" not in request.headers or part.name == "caddy":
            return Response(status_code=HTTPStatus.NOT_FOUND)
        await part.fail(request.path_params["how"])
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return Starlette(
        routes=[
            Route("/demo/state", state),
            Route("/demo/token", token),
            Route("/demo/{how:str}/{name:str}", fail, methods=["POST"]),
        ]
    )


async def play(dsn: str, port: int, jobs: int) -> None:
    """Run the cluster until SIGTERM or SIGINT."""
    await apply_schema(dsn, schema_text())
    await apply_schema(dsn, PREPARE)
    control_port = free_port()
    processes, known = parts(dsn, port, control_port)
    app = control({part.name: part for part in processes}, known)
    server = uvicorn.Server(
        uvicorn.Config(app, port=control_port, access_log=False, log_level="warning", lifespan="off")
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_end_on_signal, tasks.cancel_scope)
        *behind, caddy = processes
        for part in behind:
            tasks.start_soon(part.run)
        tasks.start_soon(server.serve)
        tasks.start_soon(run_jobs, dsn, USER_ID, jobs)
        for part in behind[-EDGES:]:
            await part.is_live.wait()
        tasks.start_soon(caddy.run)
        print(f"\n  https://localhost:{port}\n", file=sys.stderr)
        print("  The certificate is Caddy's own: let the browser go on.\n", file=sys.stderr)


async def _end_on_signal(everything: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            everything.cancel()


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Read what was typed, and play."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=8443, help="of the page (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=4, help="simulated jobs (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path(".demo/cluster"), help="keeps the database")
    asked = parser.parse_args()
    missing = [name for name in ("nats-server", "caddy") if shutil.which(name, path=PROGRAMS) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} not found beside {sys.executable}: run make demo-cluster")
    with embedded_postgres(asked.folder / "postgres") as dsn:
        anyio.run(play, dsn, asked.port, asked.jobs)


if __name__ == "__main__":
    main()
