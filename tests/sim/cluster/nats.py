"""The simulated NATS: one server, and lines to it that behave as `cluster.line.Line` does with a real one.

It keeps what core NATS promises and no more. On one subscription, messages arrive in the order in which they
were sent; those of different subscriptions may overtake each other; any may be lost; a question on a subject
without a subscription is answered as in vain. When the server goes, so does all that is under way.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import anyio

from progress_service.cluster.line import LineError, Message, NoAnswer, Servers, Take
from tests.sim.cluster.processes import PROCESS, Process
from tests.sim.virtual_time import OUTSIDE

TRIP_SECONDS = 1 / 1024
CONNECT_SECONDS_MAX = 4.0
GIVEN_UP_SECONDS = 2.5
"""So long after it was cut off, a line has missed two answers to its questions, and is given up."""
UNSENT_MAX = 8
"""So many messages of a client may wait for the network before it has to wait itself."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message, as it is under way."""

    subject: str
    data: bytes
    reply: str = ""

    @property
    def kind(self) -> str:
        """Which of the things that relays and edges say to each other it is."""
        kind = self.subject.split(".")[1]
        return kind if kind in {"snapshot", "watch", "feed"} else "flush"


@dataclass
class Link:
    """The network between one process and the server, and what will befall it."""

    name: str
    delay_seconds: float = 0.0
    is_cut: bool = False
    losses: Counter[str] = field(default_factory=Counter)
    """How many of the next messages of a kind will not arrive."""
    detours: dict[str, float] = field(default_factory=dict)
    """By how much the next message of a kind will be late."""
    held: list[Callable[[], None]] = field(default_factory=list)


class Subscription:
    """A subject that a line listens to; what comes on it keeps its order."""

    def __init__(self, line: "SimulatedLine", subject: str, take: Take) -> None:
        self._line = line
        self._subject = subject
        self._take = take
        self._due = 0.0

    def matches(self, subject: str) -> bool:
        """Whether messages on *subject* are for it."""
        prefix, star, _ = self._subject.partition("*")
        return subject.startswith(prefix) if star else subject == prefix

    def send(self, message: Sent, kind: str) -> None:
        """Have the server pass a message on."""
        link = self._line.link
        if link.losses[kind]:
            link.losses[kind] -= 1
            return
        seconds = TRIP_SECONDS + link.delay_seconds + link.detours.pop(kind, 0.0)
        self._due = max(self._due, self._line.nats.loop.time() + seconds)
        self._line.nats.under_way += 1
        self._line.nats.loop.call_at(self._due, self._arrive, message, context=OUTSIDE)

    async def unsubscribe(self) -> None:
        """Listen no more."""
        self._line.subscriptions.pop(self, None)

    def _arrive(self, message: Sent) -> None:
        if self._line.link.is_cut:
            self._line.link.held.append(lambda: self._arrive(message))
            return
        self._line.nats.under_way -= 1
        self._line.nats.loop.call_soon(self._tell, message, context=self._line.process.context)

    def _tell(self, message: Sent) -> None:
        if not self._line.is_over and self in self._line.subscriptions:
            self._take(message)


class SimulatedLine:
    """One life of a line to the simulated server."""

    def __init__(self, nats: "Nats", link: Link, process: Process) -> None:
        self.nats = nats
        self.link = link
        self.process = process
        self.is_over = False
        self.subscriptions: dict[Subscription, None] = {}
        self._ended = anyio.Event()
        self._reason = ""
        self._unsent: deque[Sent] = deque()
        self._sent_due = 0.0
        self._has_room = anyio.Event()
        self._questions: dict[str, asyncio.Future[bytes]] = {}
        self._inbox = Subscription(self, "", self._take_answer)
        self.subscriptions[self._inbox] = None

    async def until_over(self) -> None:
        """Wait for the end of it."""
        await self._ended.wait()
        raise LineError(self._reason)

    def end(self, reason: str) -> None:
        """Give it up."""
        if not self.is_over:
            self.is_over, self._reason = True, reason
            self._ended.set()
            self._has_room.set()

    async def publish(self, subject: str, data: bytes, reply: str = "") -> None:
        """Send a message to its subscriptions."""
        while len(self._unsent) >= UNSENT_MAX and not self.is_over:
            self._has_room = anyio.Event()
            await self._has_room.wait()
        if self.is_over:
            raise LineError(self._reason)
        self._unsent.append(Sent(subject, data, reply))
        self._sent_due = max(self._sent_due, self.nats.loop.time() + TRIP_SECONDS + self.link.delay_seconds)
        self.nats.under_way += 1
        self.nats.loop.call_at(self._sent_due, self._reach_server, context=OUTSIDE)

    async def subscribe(self, subject: str, take: Take) -> Subscription:
        """Have *take* called with each message on *subject*."""
        await asyncio.sleep(TRIP_SECONDS)
        if self.is_over:
            raise LineError(self._reason)
        subscription = Subscription(self, subject, take)
        self.subscriptions[subscription] = None
        return subscription

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End the subscription."""
        await subscription.unsubscribe()

    async def request(self, subject: str, data: bytes, within_seconds: float) -> bytes:
        """Ask, and give the answer."""
        reply = f"_INBOX.{next(self.nats.numbers)}"
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._questions[reply] = answer
        try:
            async with asyncio.timeout(within_seconds):
                await self.publish(subject, data, reply)
                return await answer
        except TimeoutError:
            raise NoAnswer("no answer in time") from None
        finally:
            del self._questions[reply]

    def has_asked(self, reply: str) -> bool:
        """Whether an answer that goes there is for this line."""
        return reply in self._questions

    def tell_answer(self, message: Sent) -> None:
        """Deliver an answer to the line that requested it; an empty subject: there is no subscription."""
        self._inbox.send(message, "answer")

    def _take_answer(self, message: Message) -> None:
        answer = self._questions.get(message.reply)
        if answer is not None and not answer.done():
            if message.subject:
                answer.set_result(message.data)
            else:
                answer.set_exception(NoAnswer("no subscription"))

    def _reach_server(self) -> None:
        if self.link.is_cut:
            self.link.held.append(self._reach_server)
            return
        self.nats.under_way -= 1
        message = self._unsent.popleft()
        self._has_room.set()
        if self in self.nats.lines:
            self.nats.route(message)


class Nats:
    """The server, and the lines to it.

    Args:
        loop: Keeps time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.is_down = False
        self.lines: dict[SimulatedLine, None] = {}
        self.links: dict[str, Link] = {}
        self.numbers = count(1)
        self.under_way = 0

    def link(self, name: str) -> Link:
        """The network between the process of that name and the server."""
        return self.links.setdefault(name, Link(name))

    @asynccontextmanager
    async def connected(self, servers: Servers, _: str) -> AsyncIterator[SimulatedLine]:
        """A line, for the process that the address names."""
        link = self.link(servers.addresses[0])
        await asyncio.sleep(TRIP_SECONDS + link.delay_seconds)
        if link.is_cut:
            await asyncio.sleep(CONNECT_SECONDS_MAX)
        if self.is_down or link.is_cut:
            raise LineError("no servers available for connection")
        process = PROCESS.get()
        assert process is not None
        line = SimulatedLine(self, link, process)
        self.lines[line] = None
        try:
            yield line
        finally:
            line.end("it was closed")
            self.lines.pop(line, None)

    def route(self, message: Sent) -> None:
        """Pass a message on to its subscriptions."""
        for line in self.lines:
            if line.has_asked(message.subject):
                line.tell_answer(Sent("answer", message.data, message.subject))
                return
        ears = [ear for line in self.lines for ear in line.subscriptions if ear.matches(message.subject)]
        for ear in ears:
            ear.send(message, message.kind)
        for line in self.lines if message.reply and not ears else ():
            if line.has_asked(message.reply):
                line.tell_answer(Sent("", b"", message.reply))

    def crash(self) -> None:
        """Be gone, and all that is under way with it."""
        self.is_down = True
        lost, self.lines = self.lines, {}
        for line in lost:
            self.loop.call_soon(line.end, "the server is gone", context=line.process.context)

    def restart(self) -> None:
        """Be there again."""
        self.is_down = False

    def cut(self, name: str, seconds: float) -> None:
        """Let nothing pass between a process and the server for a while; both learn of it by silence."""
        link = self.link(name)
        if link.is_cut:
            return
        link.is_cut = True
        self.loop.call_later(seconds, self._heal, link)
        if seconds > GIVEN_UP_SECONDS:
            self.loop.call_later(GIVEN_UP_SECONDS, self._give_up, link)

    def _give_up(self, link: Link) -> None:
        for line in [line for line in self.lines if line.link is link]:
            del self.lines[line]
            self.loop.call_soon(line.end, "two questions had no answer", context=line.process.context)

    def _heal(self, link: Link) -> None:
        link.is_cut = False
        held, link.held = link.held, []
        for go_on in held:
            go_on()
