"""Every figure that Prometheus reads, as a table."""

import anyio

from progress_service.jobs.reaper import Reaper
from progress_service.jobs.store import JobStore
from progress_service.relaying import RelayService
from progress_service.service import Service
from progress_service.settings import Settings
from tests.documents.table import listed
from tests.documents.table import table as table_of

NOWHERE = "postgresql://nowhere.invalid/none"


def table() -> str:
    """The table."""
    rows = []
    relay = RelayService(Settings(_env_file=None, nats="nats://nowhere.invalid"), NOWHERE)
    # What a relay has beside a service.
    theirs = (family for family in relay.figures.collect() if "_relay_" in family.name)
    for family in (*anyio.run(_service).figures.collect(), *theirs):
        labels: dict[str, dict[str, None]] = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                labels.setdefault(label, {})[value] = None
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append((f"`{name}`", family.type, _told(labels), family.documentation))
    return table_of(("metric", "kind", "labels", "what it counts"), rows)


def _told(labels: dict[str, dict[str, None]]) -> str:
    """The labels, and their values where these are few and always the same."""
    told = [
        f"`{label}`: {listed(values)}" if label != "version" else f"`{label}`"
        for label, values in labels.items()
        if label != "le"
    ]
    return "; ".join(told)


async def _service() -> Service:
    """A service with all its parts, of which none runs."""
    settings = Settings(_env_file=None, jwt_secret="x" * 32)
    reaper = Reaper(NOWHERE, pending_seconds_max=0, history_seconds=0)
    reaper.clock_offset_seconds = 0.0
    async with JobStore.open(NOWHERE) as store:
        return Service(settings, NOWHERE, store, reaper=reaper)
