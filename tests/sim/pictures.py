"""What every page must show when all is quiet: what the database has, and what hangs."""

from collections.abc import Callable, Iterable, Mapping

from progress_service.core.board import Board
from progress_service.core.events import FeedState
from progress_service.core.model import FINISHED, Instant, Revision
from progress_service.streams.beat import Beat
from progress_service.wire.frames import View
from progress_service.wire.rows import Row
from tests.sim.browser import Browser
from tests.sim.database import Database

MOMENT_SECONDS = 0.25


class Pictures:
    """Compares.

    Args:
        database: Has the truth.
        board: Has what a page would be shown that opens now, and knows what hangs.
        beat: Knows what time it is.
        fault: Is told which law was broken, and how.
    """

    def __init__(
        self, database: Database, board: Board, beat: Beat, fault: Callable[[str, str], None]
    ) -> None:
        self._database = database
        self._board = board
        self._beat = beat
        self._fault = fault

    def judge(self, browsers: Iterable[Browser], *, is_final: bool) -> None:
        """See that every page shows what is there. *is_final*: nothing has changed for long."""
        for user_id in {user_id for owners in self._database.owners.values() for user_id in owners}:
            shown = {job.id: job.revision for job in self._board.view(user_id)}
            self._judge_jobs(f"a new page of {user_id}", user_id, shown, is_final=is_final)
        for browser in browsers:
            if browser.socket is None:
                continue
            if browser.feed != FeedState.LIVE:
                self._fault("convergence", f"{browser.socket} takes the feed for {browser.feed}")
            if browser.view is View.FULL:
                shown = {job["id"]: job["revision"] for job in browser.jobs.values()}
                self._judge_jobs(str(browser.socket), browser.user_id, shown, is_final=is_final)
            else:
                self._judge_compact(browser)
            if is_final:
                self._judge_stalls(browser)

    def _judge_jobs(self, who: str, user_id: str, shown: Mapping[str, Revision], *, is_final: bool) -> None:
        rows = {row.id: row for row in self._database.rows.values() if row.user_id == user_id}
        for row in rows.values():
            # A job that finished a while ago may be about to leave, or be gone.
            is_leaving = row.status in FINISHED and not self._is_fresh(row)
            is_right = (row.id not in shown) if is_final and is_leaving else shown.get(row.id) == row.revision
            if not is_right and (is_final or not is_leaving):
                self._fault("convergence", f"{who} shows {shown.get(row.id, 'nothing')} of {row}")
        for job_id in shown.keys() - rows.keys():
            self._fault("convergence", f"{who} shows {job_id}, which is gone")

    def _is_fresh(self, row: Row) -> bool:
        """Whether a job finished so short a while ago that everyone must still see it."""
        if row.finished_at is None:
            return False
        age_seconds = (self._database.now() - row.finished_at).total_seconds()
        return age_seconds + self._database.inaccuracy_seconds < self._board.linger_seconds

    def _judge_compact(self, browser: Browser) -> None:
        rows = [row for row in self._database.rows.values() if row.user_id == browser.user_id]
        active = [row for row in rows if row.status not in FINISHED]
        shown = [(job["id"], job["revision"]) for job in browser.jobs.values()]
        if active:
            latest = max(active, key=lambda row: (row.created_at, row.id))
            if shown != [(latest.id, latest.revision)]:
                self._fault("convergence", f"{browser.socket} shows {shown} where the latest is {latest}")
        if browser.totals["active"] != len(active):
            self._fault(
                "convergence", f"{browser.socket} is told {browser.totals}, and {len(active)} are at work"
            )

    def _judge_stalls(self, browser: Browser) -> None:
        now = self._beat.clock()
        for job in browser.jobs.values():
            # What begins to hang at this very moment may be about to be told.
            moments = (Instant(now - MOMENT_SECONDS), now)
            if job["stalled"] not in [self._board.estimate(job["id"], at).stalled for at in moments]:
                self._fault("convergence", f"{browser.socket} shows {job}, which is wrong about its hanging")
