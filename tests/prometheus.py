"""A real Prometheus with the configuration of deploy/, and a real cluster that it scrapes."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final

import anyio
import httpx
import yaml

from tests.cluster import Nats, free_port, nats_server, relay
from tests.debian import program as program_of
from tests.grafana import DEPLOY
from tests.programs import SERVICE, Program, program
from tests.running import SECRET, WAIT_SECONDS_MAX, until_ready

METRICS_AT: Final = re.compile(r"metrics are at http://(localhost:\d+)/metrics")
STREAMS_AT: Final = re.compile(r"serving streams at (http://localhost:\d+)/v1/stream")

Series = tuple[Mapping[str, str], Sequence[tuple[float, float]]]
"""The labels of a series, and its points: seconds since 1970, and a value."""


class Prometheus:
    """A Prometheus that runs, and answers queries."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def get(self, path: str, **query: str | float) -> Any:
        """What its API answers."""
        answer = await self._http.get(f"/api/v1/{path}", params=query)
        assert answer.status_code == httpx.codes.OK, (query, answer.text)
        return answer.json()["data"]

    async def has(self, query: str) -> bool:
        """Whether a query has a value now; what is divided by nothing is none."""
        samples = (await self.get("query", query=query))["result"]
        return any(isfinite(float(sample["value"][1])) for sample in samples)

    async def without_value(self, queries: Sequence[str]) -> set[str]:
        """Those queries that have none."""
        return {query for query in queries if not await self.has(query)}

    async def over(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """The values of a query between two moments, *step* seconds apart."""
        found = await self.get("query_range", query=query, start=start, end=end, step=step)
        return [
            (each["metric"], [(float(at), float(value)) for at, value in each["values"]])
            for each in found["result"]
        ]


Targets = Mapping[str, Mapping[str, str]]
"""By the names of the jobs in deploy/ the processes to scrape: what each is called, and its address."""


def configuration(targets: Targets, scrape_seconds: int) -> Mapping[str, Any]:
    """That of deploy/, with a test's addresses, and in a hurry."""
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text("utf-8"))
    hurry = f"{scrape_seconds}s"
    config["global"] |= {"scrape_interval": hurry, "evaluation_interval": hurry, "scrape_timeout": hurry}
    config["rule_files"] = [str(DEPLOY / "prometheus" / name) for name in config["rule_files"]]
    config["scrape_configs"] = [
        {
            "job_name": each["job_name"],
            "static_configs": [
                {"targets": [address], "labels": {"instance": name}}
                for name, address in targets[each["job_name"]].items()
            ],
        }
        for each in config["scrape_configs"]
    ]
    return config


@asynccontextmanager
async def prometheus(folder: Path, targets: Targets, scrape_seconds: int = 1) -> AsyncIterator[Prometheus]:
    """A Prometheus that scrapes *targets*."""
    config, port = folder / "prometheus.yml", free_port()
    config.write_text(yaml.safe_dump(configuration(targets, scrape_seconds)), encoding="utf-8")
    command = [
        str(program_of("prometheus")),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    async with program(command, {}) as started:
        await started.until("Server is ready to receive web requests")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_SECONDS_MAX) as http:
            yield Prometheus(http)


@dataclass
class Process:
    """A service or a relay, where it is scraped, and what it is asked by."""

    program: Program
    scraped_at: str
    http: httpx.AsyncClient


@asynccontextmanager
async def served(dsn: str, **environment: str) -> AsyncIterator[Process]:
    """A service of its own process, once it is ready."""
    env = {"DATABASE_URL": dsn, "PROGRESS_JWT_SECRET": SECRET, "PROGRESS_METRICS_PORT": "0", **environment}
    async with program([*SERVICE, "serve", "--port", "0"], env) as started:
        await started.until("metrics are at")
        await started.until("serving streams at")
        (scraped_at,), (address,) = METRICS_AT.findall(started.text), STREAMS_AT.findall(started.text)
        async with httpx.AsyncClient(base_url=address, timeout=WAIT_SECONDS_MAX) as http:
            await until_ready(http)
            yield Process(started, scraped_at, http)


@dataclass
class Observed:
    """A service, an edge and relays, and a Prometheus that scrapes them all."""

    nats: Nats
    relays: Sequence[Process]
    service: Process
    edge: Process
    prometheus: Prometheus


@asynccontextmanager
async def relayed(dsn: str, nats: str) -> AsyncIterator[Process]:
    """A relay, once it leads or stands by."""
    async with relay(dsn, nats, PROGRESS_METRICS_PORT="0") as started:
        await started.until("metrics are at")
        (scraped_at,) = METRICS_AT.findall(started.text)
        async with httpx.AsyncClient(base_url=f"http://{scraped_at}", timeout=WAIT_SECONDS_MAX) as http:
            await until_ready(http)
            yield Process(started, scraped_at, http)


@asynccontextmanager
async def observed(dsn: str, folder: Path, scrape_seconds: int = 1) -> AsyncIterator[Observed]:
    """Two relays, an edge, a service that follows PostgreSQL itself, and Prometheus."""
    async with (
        nats_server() as nats,
        relayed(dsn, nats.address) as first,
        relayed(dsn, nats.address) as second,
        served(dsn) as service,
        served(dsn, PROGRESS_FEED=nats.address) as edge,
        prometheus(
            folder,
            {
                "progress-service": {"service": service.scraped_at, "edge": edge.scraped_at},
                "progress-relay": {"relay 1": first.scraped_at, "relay 2": second.scraped_at},
            },
            scrape_seconds,
        ) as watching,
    ):
        yield Observed(nats, [first, second], service, edge, watching)


async def until_told(prometheus: Prometheus, query: str) -> None:
    """Wait until a query has a value."""
    with anyio.fail_after(WAIT_SECONDS_MAX):
        while not await prometheus.has(query):
            pass
