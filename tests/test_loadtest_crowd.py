"""Those who watch in the load test notice what must not be: a fast wrong answer is an error, not a record."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from loadtest import contest, soak, traffic, users
from loadtest.answers import WrongAnswerError
from loadtest.contest import Contestant, Serving
from loadtest.crowd import Crowd
from loadtest.peers.plain import Plain
from loadtest.reader import OURS, Look
from loadtest.scene import People, job_id, person_id
from loadtest.writers import BARE, ROW
from tests.sending import sending

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PEOPLE = People(2)
SILENT_ROW = ROW.replace("FOR EACH ROW", "FOR EACH ROW WHEN (NEW.status <> 'completed')")


def job(number: int, completed: int, status: str = "running") -> dict[str, object]:
    """What is told of a job."""
    return {"id": job_id(number), "status": status, "progress": {"completed": completed, "total": 100}}


def event(name: str, data: object) -> bytes:
    """One event, as a chunk of its own."""
    text = f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(text), text)


def snapshot(*jobs: dict[str, object]) -> bytes:
    """The first event of a stream."""
    return event("snapshot", {"jobs": jobs, "totals": {}})


@contextmanager
def watching(*streams: bytes, look: Look = OURS, are_patient: bool = False) -> Iterator[Crowd]:
    """A crowd that has come to a server which sends each its stream, the first person's first.

    If they *are_patient*, it is one person, who is sent one stream after another.
    """
    with sending(streams) as port:
        serving = Serving(port, [], lambda _: b"GET / HTTP/1.1\r\n\r\n", look)
        with closing(Crowd(serving, PEOPLE)) as crowd:
            crowd.is_patient = are_patient
            for person in range(1 if are_patient else len(streams)):
                crowd.open([person])
            yield crowd


def read_to_end(crowd: Crowd, numbers: dict[str, int]) -> None:
    """Read until everybody knows the ends of these jobs."""
    crowd.read_until(lambda: not crowd.lacking(numbers), 0.5, "an end is unseen")


def test_what_is_told_in_order_to_the_end_is_right() -> None:
    """A checker that takes right for wrong would end every run."""
    first = HEAD + snapshot(job(0, 0)) + event("job", job(0, 1)) + event("job", job(0, 3, "completed"))
    second = HEAD + snapshot(job(1, 2)) + event("totals", {"total": 1}) + event("job", job(1, 4, "completed"))
    with watching(first, second) as crowd:
        read_to_end(crowd, {job_id(0): 3, job_id(1): 4})
        assert crowd.delivered == 3


@pytest.mark.parametrize(
    ("stream", "fault"),
    [
        (snapshot(job(0, 0)) + event("job", job(1, 1)), "person 0 was told of job .*, which is not theirs"),
        (snapshot(job(0, 0), job(1, 0)), "not theirs"),
        (snapshot(job(0, 5)) + event("job", job(0, 4)), "went back from 5 to 4"),
        (snapshot(job(0, 5, "completed")) + event("job", job(0, 5)), "went back"),
        (snapshot(), "a snapshot of person 0 lacks"),
        (snapshot(job(0, 0)) + event("job", job(0, 2, "completed")), "an end is unseen"),
        (snapshot(job(0, 3)), "an end is unseen"),
    ],
)
def test_a_wrong_answer_is_told_from_a_right_one(stream: bytes, fault: str) -> None:
    """What is lost, mixed up or told too late must not be counted as delivered."""
    with pytest.raises(WrongAnswerError, match=fault), watching(HEAD + stream) as crowd:
        read_to_end(crowd, {job_id(0): 3})


def test_a_refused_stream_is_a_wrong_answer() -> None:
    """A refusal is quicker than any stream."""
    refusal = HEAD.replace(b"200 OK", b"503 Service Unavailable")
    with pytest.raises(WrongAnswerError, match="503"), watching(refusal):
        pass


def test_jobs_are_found_however_deep_a_server_wraps_them() -> None:
    """A peer whose events were not understood would seem to deliver nothing, or nothing wrong."""
    look = Look(b'"connect"', event=None, wrapped=("pub", "data"))
    text = event("message", {"connect": {}}) + event("message", {"pub": {"data": job(0, 3, "completed")}})
    with watching(HEAD + text, look=look) as crowd:
        read_to_end(crowd, {job_id(0): 3})


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The plain service in place of ours, on a table that keeps ends to itself; where its report may go."""
    silent = Contestant("ours", BARE + SILENT_ROW, partial(contest.peer_serving, Plain()))
    monkeypatch.setattr(contest, "contestants", lambda: {"ours": silent})
    for program in (traffic, soak):
        monkeypatch.setattr(program, "SEEN_SECONDS_MAX", 0.5)
    return ["--peers", "--report", str(tmp_path)]


def test_users_tells_when_an_end_is_not_told(silent: list[str]) -> None:
    """To leave out the last state of each job is less work, too."""
    options = ["--users", "4", "--writers", "2", "--rate", "20", "--seconds", "0.2", "--runs", "1"]
    with pytest.raises(WrongAnswerError, match="somebody has not seen the end of a job"):
        users.main([*options, *silent])


def test_soak_tells_when_an_end_is_not_told(silent: list[str]) -> None:
    """A leak is easily avoided by whoever tells nothing."""
    options = ["--minutes", "0.02", "--users", "10", "--going", "1", "--at-work", "10", "--rate", "100"]
    with pytest.raises(WrongAnswerError, match="an end is unseen"):
        soak.main([*options, *silent])


def test_ids_tell_whose_a_job_is() -> None:
    """Everything else rests on this."""
    people = People(3, jobs_each=2)
    assert [people.owner(job) for job in people.jobs] == [0, 0, 1, 1, 2, 2]
    assert people.owner(person_id(0)) == -1


def test_a_writer_may_have_more_to_say_than_a_pipe_holds(tmp_path: Path) -> None:
    """It would wait for a reader who waits for its end, and any longer run would be for nothing."""
    options = ["--users", "4", "--writers", "1", "--rate", "1500", "--seconds", "1", "--runs", "1"]
    assert users.main([*options, "--peers", "--report", str(tmp_path)]) == 0


def test_who_is_cut_off_on_the_way_back_tries_again() -> None:
    """Browsers do, and a server that sheds some of a storm has not given a wrong answer."""
    refused = HEAD.replace(b"200 OK", b"503 Service Unavailable")
    with watching(refused, b"", HEAD + snapshot(job(0, 0)), are_patient=True) as crowd:
        assert crowd.retries == 2
        assert len(crowd.streams) == 1
