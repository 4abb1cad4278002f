"""Hypothesis strategies: jobs of a few users, and spans of time.

Ids, users and revisions are few, so that events of one job meet. Times are eighths of a second, which
floating point holds exactly, so that an event can fall on a deadline.
"""

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from msgspec.structs import replace

from progress_service.core.model import Job, Progress, Revision, Status

# A busy machine is slow now and then, which is no failure of a property.
settings.register_profile("laws", deadline=None)
settings.load_profile("laws")

IDS = ("a", "b", "c", "d")
USERS = ("ann", "bob")
BIRTH = datetime(2024, 2, 29, 12, tzinfo=UTC)
LINGER_SECONDS = 5.0
REVISION_MAX = 12
NO_PROGRESS = Progress()


def job(
    job_id: str = "a",
    revision: Revision = 1,
    status: Status = Status.RUNNING,
    *,
    user_id: str = "ann",
    progress: Progress = NO_PROGRESS,
    born_seconds: float = 0.0,
) -> Job:
    """A job with defaults for the members that a test does not use."""
    born = BIRTH + timedelta(seconds=born_seconds)
    return Job(job_id, user_id, status, revision, created_at=born, updated_at=born, progress=progress)


def seconds(longest: float = 12.0) -> st.SearchStrategy[float]:
    """Spans of time, in eighths of a second, 0 among them."""
    return st.integers(0, int(longest * 8)).map(lambda eighths: eighths / 8)


@st.composite
def progresses(draw: st.DrawFn) -> Progress:
    """Counts as the schema allows them: with a total known or unknown."""
    total = draw(st.integers(0, 20))
    completed = draw(st.integers(0, total or 20))
    failed = draw(st.integers(0, total - completed if total else 20))
    return Progress(total, completed, failed, draw(st.integers(0, 3)))


def jobs() -> st.SearchStrategy[Job]:
    """Few jobs of few users at few revisions."""
    return st.builds(
        job,
        st.sampled_from(IDS),
        st.integers(0, REVISION_MAX),
        st.sampled_from(Status),
        user_id=st.sampled_from(USERS),
        progress=progresses(),
    ).map(_with_birth)


def _with_birth(row: Job) -> Job:
    """Two ids share one `created_at`, so that the order of a view includes a tie."""
    return replace(row, created_at=BIRTH + timedelta(seconds="acbd".index(row.id) // 2))
