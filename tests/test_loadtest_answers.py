"""The measuring programs can fail: a wrong answer is told from a right one, however fast it comes."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pytest

from loadtest import advance, jobs, ready, writers
from loadtest.answers import WrongAnswerError
from loadtest.reader import Reader
from progress_service.core.reducer import ActiveJobs
from progress_service.feeds.reader import Reader as RowReader
from progress_service.jobs.counts import Counts
from tests.sending import sending

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(text: str) -> bytes:
    """One piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(text), text.encode())


def frame(number: int) -> bytes:
    """The frame of that number."""
    job = {"progress": {"completed": number}, "updated_at": datetime.now(UTC).isoformat()}
    return chunk(f"event: job\ndata: {json.dumps(job)}\n\n")


def stream(*numbers: int, head: bytes = HEAD) -> bytes:
    """A whole stream with these frames, and a comment between them."""
    frames = [frame(number) + chunk(": ping\n\n") for number in numbers]
    return head + chunk("event: snapshot\ndata: {}\n\n") + b"".join(frames)


@contextmanager
def reading(streams: Sequence[bytes]) -> Iterator[Reader]:
    """A reader that is sent these streams, by a server that then waits for it to leave."""
    with (
        sending(streams) as port,
        closing(Reader(port, b"GET / HTTP/1.1\r\n\r\n")) as reader,
    ):
        yield reader


def open_and_read(reader: Reader, streams: int, number: int) -> None:
    """Read these streams up to the frame of that number."""
    reader.open(streams)
    reader.read_all_until(number)


@pytest.mark.parametrize("bytes_at_once", [1, 7, 64, 1 << 16])
def test_the_reader_counts_however_the_bytes_are_cut(
    bytes_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right answer that is taken for a wrong one would spoil every run on a busy machine."""
    monkeypatch.setattr("loadtest.reader.CHUNK_BYTES", bytes_at_once)
    with reading([stream(1, 2, 3, 4), stream(1, 2, 3, 4)]) as reader:
        open_and_read(reader, 2, 4)
        assert reader.read == [4, 4]


@pytest.mark.parametrize("numbers", [(1, 3, 4), (1, 2, 2, 3, 4), (1, 3, 2, 4), (1, 2, 2, 4), (2, 3, 4)])
@pytest.mark.parametrize("bytes_at_once", [7, 1 << 16])
def test_a_fast_wrong_answer_is_a_failure(
    numbers: Sequence[int], bytes_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that one stream of many lost, got twice or got late must not be counted as work done."""
    monkeypatch.setattr("loadtest.reader.CHUNK_BYTES", bytes_at_once)
    with reading([stream(1, 2, 3, 4), stream(*numbers)]) as reader, pytest.raises(WrongAnswerError):
        open_and_read(reader, 2, 4)


def test_a_refused_stream_is_a_failure() -> None:
    """A refusal is quicker than any stream."""
    refusal = HEAD.replace(b"200 OK", b"429 Too Many Requests")
    with reading([stream(head=refusal)]) as reader, pytest.raises(WrongAnswerError, match="429"):
        reader.open(1)


def test_ready_tells_when_a_write_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that cannot fail shows nothing, however often it succeeds."""
    monkeypatch.setattr(RowReader, "_deliver", lambda *_: None)
    monkeypatch.setattr(ready, "SEEN_SECONDS_MAX", 0.3)
    assert ready.main(["--times", "1", "--at-once", "1"]) == 1


def test_advance_tells_when_an_item_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """To count nothing is the fastest way to count."""
    count = Counts.add

    def forgetful(counts: Counts, completed: int, failed: int, skipped: int) -> None:
        if counts.completed != 50:
            count(counts, completed, failed, skipped)

    monkeypatch.setattr(Counts, "add", forgetful)
    with pytest.raises(WrongAnswerError, match="100 items were counted"):
        advance.main(["--calls", "100", "--runs", "1"])


def test_writers_tells_when_an_update_is_not_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that finds no row is the fastest of all, and is counted like any other."""
    monkeypatch.setattr(writers, "SCRIPT", f"{writers.SCRIPT.rstrip().removesuffix(';')} AND false;")
    with pytest.raises(WrongAnswerError, match=r"UPDATEs that were counted, 0 are in the table"):
        writers.main(["--writers", "1", "--kinds", "bare", "--seconds", "1", "--runs", "1"])


def test_writers_tells_when_a_last_state_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trigger that keeps something to itself costs less than one that tells everything."""
    silent = writers.ROW.replace("FOR EACH ROW", "FOR EACH ROW WHEN ((NEW.progress -> 'completed')::int < 2)")
    monkeypatch.setattr(writers, "ROW", silent)
    monkeypatch.setattr(writers, "HEARD_SECONDS_MAX", 0.3)
    with pytest.raises(WrongAnswerError, match=r"row: the last state of \d+ jobs was not heard"):
        writers.main(["--writers", "1", "--kinds", "row", "--seconds", "1", "--runs", "1"])


def test_jobs_tells_when_a_job_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """To leave jobs out is the quickest way to load them."""
    monkeypatch.setattr(jobs, "OWNED", "SELECT id FROM bulk_enrichment_jobs WHERE $1::uuid IS NOT NULL")
    with pytest.raises(WrongAnswerError, match="who has 10 jobs was told something else"):
        jobs.main(["--jobs", "20", "--runs", "1"])


def test_jobs_tells_when_a_change_is_not_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush of nothing costs nothing, on a board of any size."""
    monkeypatch.setattr(jobs, "_loading", lambda *_: ())
    monkeypatch.setattr(ActiveJobs, "_upsert", lambda *_: ())
    with pytest.raises(WrongAnswerError, match="10 of 10 changes were not told"):
        jobs.main(["--sizes", "20", "--changes", "10", "--runs", "1"])
