"""What Prometheus would read from a service: each sample by its name and labels."""

from collections.abc import Mapping

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from progress_service.api.metrics import metrics_application
from progress_service.relaying import RelayService
from progress_service.service import Service


class Scrape:
    """One answer of `/metrics`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families: list[Metric] = list(text_string_to_metric_families(text))
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """The value of one sample; the name is without its `progress_`."""
        return self._samples[f"progress_{name}", frozenset(labels.items())]

    @property
    def labels(self) -> Mapping[str, Mapping[str, frozenset[str]]]:
        """Of each sample's name the labels, and of each label the values that it has."""
        found: dict[str, dict[str, set[str]]] = {}
        for name, labels in self._samples:
            values = found.setdefault(name, {})
            for label, value in labels:
                values.setdefault(label, set()).add(value)
        return {
            name: {label: frozenset(each) for label, each in values.items()} for name, values in found.items()
        }


async def scrape(service: Service | RelayService) -> Scrape:
    """Read the metrics of *service* as they are now."""
    transport = httpx.ASGITransport(metrics_application(service.figures))
    async with httpx.AsyncClient(transport=transport, base_url="http://metrics") as http:
        answer = await http.get("/metrics")
        answer.raise_for_status()
        return Scrape(answer.text)
