"""The dashboard and the alerts in deploy/: their panels, and every query as Grafana would ask it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import promql_parser
import yaml

DEPLOY: Final = Path(__file__).parents[1] / "deploy"
DASHBOARD: Final = json.loads((DEPLOY / "grafana/dashboard.json").read_text(encoding="utf-8"))
ALERTS: Final = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text(encoding="utf-8"))
RULES: Final = [rule for group in ALERTS["groups"] for rule in group["rules"]]


def panels() -> Iterator[Mapping[str, Any]]:
    """Those with queries."""
    return (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def filled(expression: str, interval: str = "1m") -> str:
    """A panel's query with Grafana's variables filled in: every job and instance, rates over *interval*."""
    return expression.replace("$__rate_interval", interval).replace("$job", ".+").replace("$instance", ".+")


def panel_queries(interval: str = "1m") -> Iterator[str]:
    """Every query of the dashboard."""
    return (filled(target["expr"], interval) for panel in panels() for target in panel["targets"])


def alert_queries() -> Iterator[str]:
    """Every expression of an alert."""
    return (rule["expr"] for rule in RULES)


def compared(expression: str) -> str:
    """What an alert's expression compares with its threshold, which is there on a good day as well."""
    parsed = promql_parser.parse(expression)
    assert isinstance(parsed, promql_parser.BinaryExpr)
    assert isinstance(parsed.rhs, promql_parser.NumberLiteral)
    return str(parsed.lhs.prettify())
