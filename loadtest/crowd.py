"""Many people's streams in one loop: each has to be told of its own person's jobs, in order, to their ends.

Every byte is read and decoded. A job's `completed` is the number of its UPDATE, so it may be left out but
never go back; what the writer put beside it tells how long the change was under way.
"""

import re
from array import array
from collections.abc import Mapping

from loadtest.answers import WrongAnswerError
from loadtest.connections import Connections, Stream
from loadtest.contest import Serving
from loadtest.scene import People
from loadtest.told import Counted, Told, told

DATA = re.compile(rb"^data: ?(.*?)\r?$", re.MULTILINE)


class Crowd(Connections):
    """The reading ends of all streams.

    `since_planned` and `since_stamped` have, for each change that was delivered and was planned at
    `timed_from` or later, how many seconds it was under way: from when it was to be written by the schedule,
    and from when PostgreSQL worked on it. `arrivals` has of each its job, its number and when it was read.

    Args:
        serving: The service; where it listens, how it is asked and how it answers.
        people: Who there is, and whose each job is.
    """

    def __init__(self, serving: Serving, people: People) -> None:
        super().__init__(serving)
        self.delivered = 0
        self.timed_from = float("inf")
        self.since_planned, self.since_stamped = array("d"), array("d")
        self.arrivals: list[tuple[str, int, float]] = []
        self._people = people

    def lacking(self, numbers: Mapping[str, int]) -> int:
        """How many streams have not seen all jobs of their person end with the last of those *numbers*."""
        return sum(not self._has_all(stream, numbers) for stream in self.streams)

    def _has_all(self, stream: Stream, numbers: Mapping[str, int]) -> bool:
        jobs = [job for job in self._people.jobs_of(stream.person) if job in numbers]
        return all(job in stream.ended and stream.numbers[job] == numbers[job] for job in jobs)

    def take(self, stream: Stream, event: bytes, now: float) -> None:
        """Check what it tells, and note how long that was under way."""
        for each in told(b"\n".join(DATA.findall(event)), self._look):
            if each.jobs is not None:
                for job in each.jobs:
                    self._note(stream, job)
                self._require_all(stream)
            elif each.progress is not None:
                self._note(stream, each)
                self._note_delivery(each, each.progress, now)

    def _note_delivery(self, job: Told, progress: Counted, now: float) -> None:
        self.delivered += 1
        if progress.planned >= self.timed_from:
            self.since_planned.append(now - progress.planned)
            self.since_stamped.append(now - progress.stamped)
            self.arrivals.append((job.id, progress.completed, now))

    def _require_all(self, stream: Stream) -> None:
        """See that the first snapshot has told every job that there was before the stream."""
        if not stream.is_open and (
            lacking := set(self._people.jobs_of(stream.person)) - stream.numbers.keys()
        ):
            raise WrongAnswerError(f"a snapshot of person {stream.person} lacks {sorted(lacking)}")

    def _note(self, stream: Stream, job: Told) -> None:
        if self._people.owner(job.id) != stream.person:
            raise WrongAnswerError(f"person {stream.person} was told of job {job.id}, which is not theirs")
        assert job.progress is not None
        number, before = job.progress.completed, stream.numbers.get(job.id, -1)
        if number < before or (job.id in stream.ended and job.status != "completed"):
            raise WrongAnswerError(f"job {job.id} went back from {before} to {number}, {job.status}")
        stream.numbers[job.id] = number
        if job.status == "completed":
            stream.ended.add(job.id)
