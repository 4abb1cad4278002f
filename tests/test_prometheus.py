"""A real Prometheus scrapes a real cluster, and answers every query of the dashboard and of the alerts."""

import subprocess
from pathlib import Path
from typing import Final

import anyio
import pytest
import yaml

from tests.debian import program
from tests.feeds import inserted
from tests.grafana import DEPLOY, RULES, alert_queries, compared, filled, panel_queries, panels
from tests.onlooker import Database
from tests.prometheus import observed, until_told
from tests.running import bearer, watching
from tests.test_cluster import work

CASES: Final = Path(__file__).with_name("alerts.yml")
INTERVAL: Final = "5s"
EMPTY_ON_A_GOOD_DAY: Final = frozenset(
    {
        # No request has failed.
        compared('sum by (instance) (rate(progress_http_answers_total{status="500"}[5m])) > 0'),
        # Every edge hears a relay.
        *(
            filled(target["expr"], INTERVAL)
            for panel in panels()
            for target in panel["targets"]
            if target["legendFormat"] == "that hear nothing"
        ),
    }
)
SCRAPED_SECONDS_MAX: Final = 90


@pytest.mark.anyio
@pytest.mark.timeout(240)
async def test_every_query_has_an_answer(database: Database, tmp_path: Path) -> None:
    """A query may be well-formed, name what is there, and still say nothing: only Prometheus can tell."""
    queries = [*panel_queries(INTERVAL), *map(compared, alert_queries())]
    assert set(queries) >= EMPTY_ON_A_GOOD_DAY
    job, done = await inserted(database.connection, database.user_id), 0
    async with observed(database.dsn, tmp_path) as all_of_it:
        told = all_of_it.prometheus
        async with (
            watching(all_of_it.service.http, database.user_id),
            watching(all_of_it.edge.http, database.user_id),
        ):
            left: set[str] = set(queries)
            with anyio.fail_after(SCRAPED_SECONDS_MAX):
                while not left <= EMPTY_ON_A_GOOD_DAY:
                    # A rate needs two scrapes with something in between.
                    done += 1
                    await work(database, job, done)
                    await all_of_it.service.http.get("/v1/jobs", headers=bearer(database.user_id))
                    left = await told.without_value(queries)
            assert left == EMPTY_ON_A_GOOD_DAY
            groups = (await told.get("rules"))["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            assert {rule["health"] for rule in rules} == {"ok"}
            assert len(rules) == len(RULES)
            assert (await told.get("alerts"))["alerts"] == []

            # And what is wrong is told.
            await all_of_it.nats.stop()
            for alert in ("ProgressNoLeader", "ProgressRelayCutOff", "ProgressFeedLost"):
                await until_told(told, f'ALERTS{{alertname="{alert}"}}')
            for query in EMPTY_ON_A_GOOD_DAY:
                if "500" not in query:
                    await until_told(told, query)
        all_of_it.service.program.process.kill()
        await until_told(told, 'ALERTS{alertname="ProgressDown", job="progress-service"}')
        for alert in (await told.get("alerts"))["alerts"]:
            assert "error" not in alert["annotations"]["summary"]


def promtool(*arguments: str) -> str:
    """What promtool says of the files in deploy/."""
    done = subprocess.run(
        [program("promtool"), *arguments],
        cwd=DEPLOY / "prometheus",
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("arguments", [("rules", "alerts.yml"), ("config", "prometheus.yml")])
def test_prometheus_takes_its_files(arguments: tuple[str, ...]) -> None:
    """It would not start with one that it cannot read."""
    assert "SUCCESS" in promtool("check", *arguments)


def test_each_alert_comes_on_its_bad_day_and_none_on_a_good_one() -> None:
    """One that never comes is worse than none, and one that comes every day is soon not read."""
    good, empty, *bad = yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]
    alerts = [rule["alert"] for rule in RULES]
    for quiet in (good, empty):
        assert [case["alertname"] for case in quiet["alert_rule_test"]] == alerts
        assert not any("exp_alerts" in case for case in quiet["alert_rule_test"])
    loud = [case for each in bad for case in each["alert_rule_test"]]
    assert [case["alertname"] for case in loud if case["exp_alerts"]] == alerts
    assert "SUCCESS" in promtool("test", "rules", str(CASES))
