"""What a person types: `progress-service demo | serve | relay | doctor | schema`."""

import json
import logging
import os
import secrets
import socket
import sys
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import anyio
import typer

from progress_service import logs, relaying, service
from progress_service.demo.play import DemoError, play
from progress_service.doctor.finding import Finding, Verdict
from progress_service.doctor.rounds import rounds as doctor_rounds
from progress_service.doctor.tokens import stranger_token
from progress_service.embedded import EmbeddedPostgresError, embedded_postgres
from progress_service.jobs.schema import SchemaError, apply_schema, schema_text
from progress_service.parts import refusals_told
from progress_service.server import ListenError, address_of, inherited_socket, listening_socket
from progress_service.settings import Settings, SettingsError
from progress_service.workers import Supervisor, WorkerError, until_orphaned, worker_command

logger = logging.getLogger(__name__)

DEMO_FOLDER = Path(".demo")

commands = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Live progress of long jobs: from a PostgreSQL row to any web page.",
)

Host = Annotated[str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="The port; 0 takes a free one.", show_default="8080")]


@commands.command()
def serve(
    host: Host = None,
    port: Port = None,
    feed: Annotated[
        str | None,
        typer.Option(
            help="How changes come: auto, notify, wal, poll, or nats://… of a relay.", show_default="auto"
        ),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(help="How many relays, each with a --shard, tell of changes.", show_default="1"),
    ] = None,
    *,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that share the port.")] = 1,
    fd: Annotated[
        int | None, typer.Option(min=3, help="Listen on this open descriptor, not on host and port.")
    ] = None,
    leash: Annotated[int | None, typer.Option(min=3, hidden=True)] = None,
) -> None:
    """Serve streams of the database that DATABASE_URL names."""
    settings = Settings(host=host, port=port, feed=feed, shards=shards)
    settings.require_relays()
    logs.configure(settings.log_format, settings.log_level)
    settings.require_access()
    dsn = settings.require_database_url()
    if fd is None:
        for warning in settings.warnings:
            logger.warning(warning)
    listener = listening_socket(settings.host, settings.port) if fd is None else inherited_socket(fd)
    if workers > 1:
        # On a command line, others could read the passwords that are in an address.
        environments = [os.environ | more for more in settings.worker_environments(workers)]
        supervisor = Supervisor(worker_command(), environments, listener)
        logger.info("%d workers serve streams at %s/v1/stream", workers, address_of(listener))
        anyio.run(supervisor.run)
    else:
        anyio.run(
            _serve,
            settings,
            dsn,
            listener,
            _metrics_listener(settings),
            leash,
            backend_options={"use_uvloop": True},
        )


def _metrics_listener(settings: Settings) -> socket.socket | None:
    """Where an operator's tools ask, if anywhere."""
    if settings.metrics_port is None:
        return None
    return listening_socket(settings.metrics_host, settings.metrics_port)


async def _serve(
    settings: Settings,
    dsn: str,
    listener: socket.socket,
    metrics_listener: socket.socket | None,
    leash: int | None,
) -> None:
    with refusals_told():
        async with service.opened(settings, dsn) as opened:
            await service.serve(
                opened,
                listener,
                metrics_listener=metrics_listener,
                until=None if leash is None else partial(until_orphaned, leash),
                on_start=lambda address: logger.info("serving streams at %s/v1/stream", address),
            )


@commands.command()
def relay(
    nats: Annotated[
        str | None, typer.Option(help="The NATS that edges hear, nats://host:4222; several with commas.")
    ] = None,
    feed: Annotated[
        str | None, typer.Option(help="How changes come: auto, notify, wal or poll.", show_default="auto")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="The part of the users to tell of: 3/8 is the third of eight.", show_default="1/1"),
    ] = None,
) -> None:
    """Tell edges (serve --feed nats://…) what changes in DATABASE_URL; of several relays one leads."""
    settings = Settings(nats=nats, feed=feed, shard=shard)
    logs.configure(settings.log_format, settings.log_level)
    settings.require_nats()
    dsn = settings.require_database_url()
    anyio.run(relaying.run, settings, dsn, _metrics_listener(settings), backend_options={"use_uvloop": True})


@commands.command()
def demo(
    host: Host = None,
    port: Port = None,
    jobs: Annotated[int, typer.Option(min=0, max=1_000, help="Simulated jobs to keep going.")] = 0,
    folder: Annotated[Path, typer.Option(help="Keeps the private PostgreSQL and the uploads.")] = DEMO_FOLDER,
) -> None:
    """Show a page with live bars, on a private PostgreSQL unless DATABASE_URL names one."""
    settings = _demo_settings(host, port)
    database = (
        embedded_postgres(folder / "postgres")
        if settings.database_url is None
        else nullcontext(settings.require_database_url())
    )
    with database as dsn:

        async def run() -> None:
            await play(
                settings,
                dsn,
                schema_text(),
                folder=folder / "uploads",
                jobs=jobs,
                on_start=lambda address: _welcome(address, dsn),
            )

        anyio.run(run, backend_options={"use_uvloop": True})


@commands.command()
def schema(
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Apply it to DATABASE_URL instead.")] = False,
    feed: Annotated[
        Literal["notify", "wal"] | None,
        typer.Option(help="Triggers send hints, or the log is read; left out, the last choice stays."),
    ] = None,
) -> None:
    """Print schema.sql, which may be applied any number of times."""
    if not apply:
        typer.echo(schema_text(feed), nl=False)
        return
    dsn = Settings().require_database_url()
    for notice in anyio.run(apply_schema, dsn, schema_text(feed)):
        typer.echo(notice, err=True)
    typer.echo("The schema is in place.", err=True)


@commands.command()
def doctor(
    url: Annotated[str | None, typer.Option(help="Address of a running service, as browsers use it.")] = None,
    token: Annotated[
        str | None, typer.Option(help="An access token for a stream there.", show_default="made, if possible")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON, one a line.")] = False,
) -> None:
    """Find out why a bar does not move; the exit status is 1 if anything is wrong."""
    settings = Settings()
    sys.exit(anyio.run(_doctor, settings, url, token, as_json))


async def _doctor(settings: Settings, url: str | None, token: str | None, as_json: bool) -> int:  # noqa: FBT001
    if url is not None and token is None and settings.jwt_key is not None:
        token = stranger_token(
            settings.jwt_key,
            algorithm=next(name for name in settings.accepted_algorithms if name.startswith("HS")),
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer,
        )
    rounds = doctor_rounds(
        settings.require_database_url(),
        has_secret=settings.jwt_secret is not None,
        jwks_url=settings.jwks_url,
        url=url,
        token=token,
    )
    is_wrong = False
    async for finding in rounds:
        is_wrong = is_wrong or finding.verdict is Verdict.WRONG
        typer.echo(json.dumps(asdict(finding)) if as_json else _told(finding))
    return int(is_wrong)


def main() -> None:
    """Run the command that was typed; what a person got wrong is answered with one line."""
    logs.configure("text", "info")
    try:
        commands()
    except (SettingsError, SchemaError, DemoError, EmbeddedPostgresError, ListenError, WorkerError) as error:
        sys.exit(f"progress-service: {error}")


def _demo_settings(host: str | None, port: int | None) -> Settings:
    """The settings, with what a first look should not have to set: a free port and a secret."""
    settings = Settings(host=host, port=port)
    if port is None:
        port = _free_port(settings.host, settings.port)
    has_keys = settings.jwt_secret is not None or settings.jwks_url is not None
    return Settings(host=host, port=port, jwt_secret=None if has_keys else secrets.token_urlsafe(48))


def _told(finding: Finding) -> str:
    """A finding in two lines at most: what was found, and below it what mends it."""
    colour = {Verdict.WELL: "green", Verdict.NOTE: "yellow", Verdict.WRONG: "red"}[finding.verdict]
    mark = typer.style(f"{finding.verdict:<6}", fg=colour)
    line = f"{mark}{finding.subject:<17}{finding.said}"
    return f"{line}\n{'':<23}→ {finding.remedy}" if finding.remedy else line


def _free_port(host: str, wanted: int) -> int:
    """The port that is wanted, or 0 (which lets the system choose) where another program has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted))
        except OSError:
            return 0
    return wanted


def _welcome(address: str, dsn: str) -> None:
    typer.echo(
        f"\n  {address}\n\n"
        "  Upload a list of contacts there, or change a row yourself and watch it:\n"
        f"  psql '{dsn}'\n\n"
        "  Ctrl-C ends the demo.\n"
    )
