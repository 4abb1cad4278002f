"""What must hold between whoever serves and the pages, at any time; `laws` has the whole list."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from progress_service.core.events import FeedState
from progress_service.core.model import FINISHED, Instant, Revision, percentage
from progress_service.wire.frames import View
from tests.sim.database import Database
from tests.sim.response import Socket, Told

TOKEN_SECONDS_LATE_MAX = 1.0
HEARTBEAT_SECONDS = 4.0
SUMS = ("active", "total", "completed", "failed", "percentage")


@dataclass(frozen=True, slots=True)
class Fault:
    """A law that was broken, how, and when."""

    law: str
    what: str
    at: float

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.law}: {self.what} (at {self.at:.4f} s)"


class PageLaws:
    """Sees all that pages are told, and remembers what was wrong.

    Args:
        database: Has the truth.
        clock: What time it is.
        wall_clock: The date by which tokens end.
    """

    def __init__(
        self, database: Database, clock: Callable[[], Instant], wall_clock: Callable[[], datetime]
    ) -> None:
        self.faults: list[Fault] = []
        self.sockets: dict[Socket, None] = {}
        self._database = database
        self._clock = clock
        self._wall_clock = wall_clock
        self._has_stall_been_told = False

    def fault(self, law: str, what: str) -> None:
        """Remember that a law was broken."""
        self.faults.append(Fault(law, what, self._clock()))

    # Between service and browsers.

    def opened(self, socket: Socket) -> None:
        """A stream begins."""
        self.sockets[socket] = None

    def closed(self, socket: Socket) -> None:
        """The service has let go of a stream."""
        del self.sockets[socket]

    def on_send(self, socket: Socket, *, is_last: bool) -> None:
        """The service hands over a frame."""
        late_seconds = (self._wall_clock() - socket.expires_at).total_seconds()
        if late_seconds > TOKEN_SECONDS_LATE_MAX and not is_last:
            self.fault("ends", f"{socket} goes on {late_seconds} s after the end of its token")

    def on_event(self, socket: Socket, event: str, told: Told) -> None:
        """A page is told an event, and has not yet taken it in."""
        match event:
            case "snapshot":
                self._on_jobs(socket, told["jobs"])
            case "compact":
                self._on_jobs(socket, [told["job"]] if told["job"] else [])
            case "job":
                self._on_job(socket, told)
            case "removed":
                self._on_removed(socket, told["id"], told["reason"])
        if not socket.is_begun:
            self.fault("ends", f"{socket} begins with {event}")

    def on_frame(self, socket: Socket) -> None:
        """A page has taken in a whole frame."""
        browser = socket.browser
        if self._has_stall_been_told and browser.feed == FeedState.LOST:
            self.fault("deafness", f"{socket} is told that a job hangs")
        self._has_stall_been_told = False
        if browser.view is View.FULL:
            sums = _sums((job["status"], job["progress"]) for job in browser.jobs.values())
            if sums != {name: browser.totals[name] for name in SUMS}:
                self.fault("sums", f"{socket} is told {browser.totals}, and its jobs make {sums}")

    def _on_jobs(self, socket: Socket, jobs: Sequence[Told]) -> None:
        socket.is_begun = True
        for job in jobs:
            self._on_job(socket, job)

    def _on_job(self, socket: Socket, told: Told) -> None:
        job_id, revision, browser = told["id"], told["revision"], socket.browser
        row = self._database.history.get((job_id, revision))
        if row is None or (row.status, row.progress["completed"]) != (
            told["status"],
            told["progress"]["completed"],
        ):
            self.fault("truth", f"{socket} is told what no row ever said: {told}")
        elif row.user_id != browser.user_id:
            self.fault("truth", f"{socket} is told of {row.user_id}'s job {told}")
        if revision < browser.told_revisions.get(job_id, 0):
            self.fault("no way back", f"{socket} is told of an older state: {told}")
        if revision <= socket.removed_revisions.get(job_id, 0):
            self.fault("no way back", f"{socket} is told again of what was removed: {told}")
        browser.told_revisions[job_id] = revision
        self._has_stall_been_told |= told["stalled"]

    def _on_removed(self, socket: Socket, job_id: str, reason: str) -> None:
        browser = socket.browser
        if browser.user_id not in self._database.owners[job_id]:
            self.fault("truth", f"{socket} is told of another's job {job_id}")
        shown = browser.jobs.get(job_id)
        if shown is None:
            return
        socket.removed_revisions[job_id] = shown["revision"]
        if shown["status"] not in FINISHED and (
            reason == "evicted" or not self._is_gone(job_id, shown["revision"], browser.user_id)
        ):
            self.fault("farewell", f"{socket} loses a job that was never told to have ended: {shown}")

    def _is_gone(self, job_id: str, revision: Revision, user_id: str) -> bool:
        """Whether a row's life ended after that revision, or it became someone else's."""
        return revision <= self._database.deleted.get(job_id, 0) or any(
            row.user_id != user_id
            for (row_id, later), row in self._database.history.items()
            if row_id == job_id and later > revision
        )


def _sums(jobs: Iterable[tuple[str, Mapping[str, int]]]) -> dict[str, int]:
    """The totals of these jobs, counted afresh."""
    found = list(jobs)
    total, completed, failed = (
        sum(progress[name] for _, progress in found) for name in ("total", "completed", "failed")
    )
    active = sum(status not in FINISHED for status, _ in found)
    return {
        "active": active,
        "total": total,
        "completed": completed,
        "failed": failed,
        "percentage": percentage(completed, total),
    }
