"""Who notices that a job hangs: nothing is written to its row then, so no fact will tell.

For each job that pages were told of one entry on the agenda counts. It is not put off with each report: when
its time comes, the board says whether the job hangs now, or until when to wait once more. Only a job that
goes faster than before may hang earlier than was thought, and gets an earlier entry in place of it.
"""

from collections.abc import Callable
from functools import partial

from progress_service.core.estimate import NEVER
from progress_service.core.model import Instant, Job
from progress_service.core.reducer import ActiveJobs
from progress_service.streams.beat import Beat


class Vigil:
    """Watches jobs until they hang or leave, or nobody is there to be told.

    Args:
        board: Knows from when on a job hangs.
        beat: Calls back at that instant.
        is_watched: Whether anybody watches a user's jobs.
        tell: Is given a job that hangs.
    """

    def __init__(
        self,
        board: ActiveJobs,
        beat: Beat,
        *,
        is_watched: Callable[[str], bool],
        tell: Callable[[Job, Instant], None],
    ) -> None:
        self._board = board
        self._beat = beat
        self._is_watched = is_watched
        self._tell = tell
        # When each of them is looked at next. An entry that says otherwise is void.
        self._kept: dict[str, Instant] = {}

    def keep(self, job_id: str, due: Instant, now: Instant) -> None:
        """Watch a job that hangs from *due* on. Pages were told of it at *now*, and know if it hung then."""
        if now < due < NEVER:
            self.look_at(due, job_id)

    def look_at(self, due: Instant, job_id: str) -> None:
        """See at *due*, if not before, whether that job hangs."""
        if due < self._kept.get(job_id, NEVER):
            self._kept[job_id] = due
            self._beat.at_about(due, partial(self._look, job_id, due))

    def _look(self, job_id: str, due: Instant, now: Instant) -> None:
        if self._kept.get(job_id) != due:
            return
        del self._kept[job_id]
        job = self._board.job(job_id)
        if job is None or not self._is_watched(job.user_id):
            return
        due = self._board.stalls_at(job_id)
        if due <= now:
            self._tell(job, now)
        else:
            self.keep(job_id, due, now)
