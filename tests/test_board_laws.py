"""The laws of the board, tried on random histories: promises that the rest of the service leans on."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from progress_service.core.board import TOMBSTONE_SECONDS, Board, Change, Departure
from progress_service.core.events import Fact, JobDeleted, JobReported
from progress_service.core.model import FINISHED, Instant, Job, Revision, Status
from progress_service.core.reduce import MOVES
from progress_service.core.totals import recount
from tests.strategies import (
    ANY_TIME,
    IDS,
    LINGER_SECONDS,
    NEWEST,
    USERS,
    Expiry,
    Step,
    Table,
    dated,
    end,
    facts,
    facts_of,
    histories,
    jobs,
    replayed,
    seconds,
    shown,
    summed,
    take,
)


@given(histories(), facts())
def test_twice_is_once(history: Sequence[Step], fact: Fact) -> None:
    """Snapshot and live feed overlap after every reconnect, so the same fact comes again."""
    board = replayed(history)
    fact = dated(fact, end(history))
    board.apply(fact)
    before, illegal_moves = shown(board), board.illegal_moves
    assert not board.apply(dated(fact, end(history)))
    assert shown(board) == before
    assert all(board.job(job.id) is job for view in before.values() for job in view.values())
    assert board.illegal_moves == illegal_moves


@given(st.tuples(*map(facts_of, IDS)).map(lambda lives: [*chain(*lives)]), st.data())
def test_any_order_ends_at_the_largest_revision(lives: list[Fact], data: st.DataObject) -> None:
    """Reports are handed on by many routes, and only the revision tells which of them is the latest."""
    board, now = Board(linger_seconds=LINGER_SECONDS), ANY_TIME
    last: dict[str, JobReported | JobDeleted] = {}
    for fact in data.draw(st.permutations(lives)):
        now = Instant(now + data.draw(seconds(1)))
        heard = dated(fact, now)
        board.apply(heard)
        assert isinstance(heard, JobReported | JobDeleted)
        job_id, rank = _rank(heard)
        if job_id not in last or rank > _rank(last[job_id])[1]:
            last[job_id] = heard
    board.expire(now)
    expected = {
        job_id: fact.job
        for job_id, fact in last.items()
        if isinstance(fact, JobReported)
        and (deadline := _deadline(fact), deadline is None or deadline > now)[1]
    }
    assert {job.id: job for view in shown(board).values() for job in view.values()} == expected


def _rank(fact: JobReported | JobDeleted) -> tuple[str, tuple[Revision, bool]]:
    """A deletion carries the last revision of its row, and comes behind the report of that."""
    return (
        (fact.job.id, (fact.job.revision, False))
        if isinstance(fact, JobReported)
        else (fact.id, (fact.revision, True))
    )


def _deadline(report: JobReported) -> Instant | None:
    if report.job.status not in FINISHED:
        return None
    return Instant(report.at - (report.finished_seconds or 0.0) + LINGER_SECONDS)


@given(
    st.lists(st.tuples(seconds(4), jobs() | st.sampled_from(IDS))),
    seconds(),
    st.lists(seconds(3), max_size=5),
)
def test_a_snapshot_equals_the_replay(
    writes: list[tuple[float, Job | str]], window_more_seconds: float, pauses: list[float]
) -> None:
    """There is no replay log: a feed that starts anew must get everyone to the very same picture.

    Also on the board that heard it all, where the snapshot must change nothing and start no linger anew.
    """
    table, now, history = Table(), ANY_TIME, list[Step]()
    for pause_seconds, write in writes:
        now = Instant(now + pause_seconds)
        if isinstance(write, Job):
            history.append(table.write(write, now))
        elif write in table.rows:
            history.append(table.delete(write, now))
    listener, newcomer = replayed([*history, Expiry(now)]), Board(linger_seconds=LINGER_SECONDS)
    snapshot = table.snapshot(now, LINGER_SECONDS + window_more_seconds)
    newcomer.apply(snapshot)
    assert not listener.apply(snapshot)
    for pause_seconds in [0.0, *pauses]:
        now = Instant(now + pause_seconds)
        listener.expire(now)
        newcomer.expire(now)
        assert shown(newcomer) == shown(listener)
        assert summed(newcomer) == summed(listener)


@given(histories())
def test_totals_equal_a_recount(history: Sequence[Step]) -> None:
    """Totals are kept by difference; a single slip would stay in them for good."""
    board = Board(linger_seconds=LINGER_SECONDS)
    for step in history:
        take(board, step)
        for user, total in summed(board).items():
            assert total == recount(board.view(user))


@given(histories())
def test_finished_jobs_leave_when_their_time_is_over_and_not_before(history: Sequence[Step]) -> None:
    """A bar at its end is to be seen for as long as was promised, and then to go.

    `next_deadline` is what the owner's timer sleeps by: were it late, so would the departure be.
    """
    board = Board(linger_seconds=LINGER_SECONDS)
    deadlines: dict[tuple[str, Revision], list[Instant]] = defaultdict(list)
    for step in history:
        reports = {report.job: report for report in _reports(step)}
        for change in take(board, step):
            if change.departure is None and change.job.status in FINISHED:
                deadline = _deadline(reports[change.job])
                assert deadline is not None
                deadlines[change.job.id, change.job.revision].append(deadline)
            if isinstance(step, Expiry):
                assert change.departure is Departure.EVICTED
                assert min(deadlines[change.job.id, change.job.revision]) <= step.now
        due = [
            deadlines[job.id, job.revision][-1]
            for user in USERS
            for job in board.view(user)
            if job.status in FINISHED
        ]
        if due:
            assert board.next_deadline is not None
            assert board.next_deadline <= min(due)
        if isinstance(step, Expiry):
            assert all(deadline > step.now for deadline in due)
            assert board.next_deadline is None or board.next_deadline > step.now


def _reports(step: Step) -> Sequence[JobReported]:
    match step:
        case JobReported():
            return [step]
        case JobDeleted() | Expiry():
            return []
        case _:
            return step.reports


@given(histories(), jobs(), st.integers(NEWEST + 1, NEWEST + 2), seconds(TOMBSTONE_SECONDS - 1 / 8))
def test_what_was_deleted_stays_away_until_it_is_born_again(
    history: Sequence[Step], late: Job, revision: Revision, later_seconds: float
) -> None:
    """A report that was overtaken by the deletion of its row must not bring a ghost onto the page."""
    board, now = replayed(history), end(history)
    board.apply(JobDeleted(late.id, late.user_id, revision, now))
    assert board.job(late.id) is None
    later = Instant(now + later_seconds)
    board.expire(later)
    late = replace(late, status=Status.RUNNING)
    assert not board.apply(JobReported(late, later))
    reborn = replace(late, revision=revision + 1)
    assert [change.job for change in board.apply(JobReported(reborn, later))] == [reborn]
    assert shown(board)[reborn.user_id][reborn.id] is reborn


@given(histories())
def test_changes_tell_exactly_what_changed(history: Sequence[Step]) -> None:
    """Streams are told the changes alone: with one missed, or one too many, a page shows another board."""
    board = Board(linger_seconds=LINGER_SECONDS)
    mirror: dict[str, dict[str, Job]] = {user: {} for user in USERS}
    for step in history:
        before = shown(board)
        for change in take(board, step):
            _follow(mirror, before, change)
        assert mirror == shown(board)
        assert len(board) == sum(map(len, mirror.values()))


def _follow(mirror: dict[str, dict[str, Job]], before: dict[str, dict[str, Job]], change: Change) -> None:
    job, view = change.job, mirror[change.job.user_id]
    old = before[job.user_id].get(job.id)
    if change.departure is None:
        assert view.get(job.id) is not job
        view[job.id] = job
        assert change.is_urgent == (old is None or old.status is not job.status)
    else:
        assert view.pop(job.id) is job


@given(histories())
def test_overdue_jobs_never_come_onto_the_board(history: Sequence[Step]) -> None:
    """A job that finished long ago must not flash up, but one that was watched shows how it ended."""
    board = Board(linger_seconds=LINGER_SECONDS)
    for step in history:
        for report in _reports(step):
            was_there = board.job(report.job.id) is not None
            is_overdue = (deadline := _deadline(report)) is not None and deadline <= report.at
            changes = board.apply(report)
            if is_overdue and not was_there:
                assert not changes
            elif is_overdue and changes:
                assert changes[-1].job is report.job
                assert report.job.id in {change.job.id for change in board.expire(report.at)}
        take(board, step)


@given(histories())
def test_illegal_moves_are_accepted_and_counted(history: Sequence[Step]) -> None:
    """They come from the database, so they are facts; but they tell that a worker is confused."""
    board = Board(linger_seconds=LINGER_SECONDS)
    expected = 0
    for step in history:
        for report in _reports(step):
            old = board.job(report.job.id)
            if board.apply(report):
                assert board.job(report.job.id) is report.job
                expected += old is not None and report.job.status not in MOVES[old.status]
        take(board, step)
        assert board.illegal_moves == expected
