"""What every page must show when all is quiet: what the database has, and which jobs stall."""

from collections.abc import Callable, Iterable, Mapping

from progress_service.core.events import FeedState
from progress_service.core.model import FINISHED, Instant
from progress_service.core.reducer import ActiveJobs
from progress_service.streams.beat import Beat
from progress_service.wire.frames import View
from tests.sim.browser import Browser
from tests.sim.database import Database, Row

MOMENT_SECONDS = 0.25


class ExpectedPages:
    """Compares pages with the table.

    Args:
        database: Has the truth.
        jobs: The map: a page that opens now would show it.
        beat: Has the clock.
        violate: Takes the invariant that does not hold, and how.
    """

    def __init__(
        self, database: Database, jobs: ActiveJobs, beat: Beat, violate: Callable[[str, str], None]
    ) -> None:
        self._database = database
        self._map = jobs
        self._beat = beat
        self._violate = violate

    def judge(self, browsers: Iterable[Browser], state: FeedState, *, is_final: bool) -> None:
        """See that every page shows what is there. *is_final*: nothing has changed for long."""
        for user_id in {user_id for owners in self._database.owners.values() for user_id in owners}:
            shown: dict[str, object] = {
                job.id: job.progress.more and job.progress.more["version"] for job in self._map.view(user_id)
            }
            self._judge_jobs(f"a new page of {user_id}", user_id, shown, is_final=is_final)
        for browser in browsers:
            if browser.socket is None:
                continue
            if browser.feed != state:
                self._violate("convergence", f"{browser.socket} takes the feed for {browser.feed}")
            if browser.view is View.FULL:
                shown = {job["id"]: job["progress"]["version"] for job in browser.jobs.values()}
                self._judge_jobs(str(browser.socket), browser.user_id, shown, is_final=is_final)
            else:
                self._judge_compact(browser)
            if is_final:
                self._judge_stalls(browser)

    def _rows(self, user_id: str) -> list[Row]:
        return [
            row for row in self._database.rows.values() if row.user_id == user_id and row.malformation is None
        ]

    def _judge_jobs(self, page: str, user_id: str, shown: Mapping[str, object], *, is_final: bool) -> None:
        rows = {row.id: row for row in self._rows(user_id)}
        for row in rows.values():
            # A job that finished a while ago may be about to leave, or be gone.
            is_leaving = row.status in FINISHED and not self._is_fresh(row)
            is_right = (row.id not in shown) if is_final and is_leaving else shown.get(row.id) == row.version
            if not is_right and (is_final or not is_leaving):
                self._violate("convergence", f"{page} shows {shown.get(row.id, 'nothing')} of {row}")
        for job_id in shown.keys() - rows.keys():
            self._violate("convergence", f"{page} shows {job_id}, which is gone")

    def _is_fresh(self, row: Row) -> bool:
        """Whether a job finished so short a while ago that every page must still show it."""
        if row.finished_at is None:
            return False
        age_seconds = (self._database.now() - row.finished_at).total_seconds()
        return age_seconds + self._database.inaccuracy_seconds < self._map.linger_seconds

    def _judge_compact(self, browser: Browser) -> None:
        active = [row for row in self._rows(browser.user_id) if row.status not in FINISHED]
        shown = [(job["id"], job["progress"]["version"]) for job in browser.jobs.values()]
        if active:
            latest = max(active, key=lambda row: (row.created_at, row.id))
            if shown != [(latest.id, latest.version)]:
                self._violate("convergence", f"{browser.socket} shows {shown} where the latest is {latest}")
        if browser.totals["active"] != len(active):
            self._violate(
                "convergence", f"{browser.socket} is sent {browser.totals}, and {len(active)} are active"
            )

    def _judge_stalls(self, browser: Browser) -> None:
        now = self._beat.clock()
        for job in browser.jobs.values():
            # A stall that begins at this very moment may be about to be sent.
            moments = (Instant(now - MOMENT_SECONDS), now)
            if job["stalled"] not in [self._map.estimate(job["id"], at).stalled for at in moments]:
                self._violate("convergence", f"{browser.socket} shows {job}, and is wrong about its stall")
