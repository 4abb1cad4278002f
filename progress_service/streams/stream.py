"""One browser's stream, and how a frame is pushed into it without waking a task.

The server's `send` does not suspend while the socket takes the bytes, so a push drives it for one step and is
done. Only where it does suspend, at a slow reader, is something left that a task has to wait for. Where the
server's own `Answer` is at hand, even that step is left out: a chunk goes to the socket as it is.
"""

import logging
import secrets
from collections.abc import Callable, Coroutine, Generator
from datetime import datetime
from enum import StrEnum
from types import coroutine
from typing import Any, Protocol, cast

from starlette.types import Message, Send

from progress_service.wire.frames import View

logger = logging.getLogger(__name__)

Rest = Coroutine[Any, Any, None]
"""What is left of a send that had to wait: await it, in a task."""

ID_BYTES = 12


class Part:
    """A part of a body, ready to be pushed to any number of streams.

    `chunk` is the frame as it goes over the wire (RFC 9112, section 7.1), and None for the last part, which
    ends the response.
    """

    __slots__ = ("chunk", "frame")

    def __init__(self, frame: bytes, *, is_last: bool = False) -> None:
        self.frame = frame
        self.chunk = None if is_last else b"%x\r\n%b\r\n" % (len(frame), frame)

    @property
    def message(self) -> Message:
        """The same for a server's `send` (ASGI 3)."""
        return {"type": "http.response.body", "body": self.frame, "more_body": self.chunk is not None}


class Flow(Protocol):
    """Whether the socket takes more."""

    @property
    def write_paused(self) -> bool:
        """That it does not."""
        ...


class Wire(Protocol):
    """Where the bytes go."""

    def write(self, data: bytes, /) -> None:
        """Send them, now or as soon as the socket takes them."""
        ...


class Answer(Protocol):
    """What the server has of a response whose body is sent in chunks, and has begun."""

    @property
    def disconnected(self) -> bool:
        """Whether the client is known to be gone."""
        ...

    @property
    def flow(self) -> Flow:
        """Whether it can be written."""
        ...

    @property
    def transport(self) -> Wire:
        """Its connection."""
        ...


class Ending(StrEnum):
    """Why a stream ended."""

    GONE = "gone"
    """Its browser left, or no longer read."""

    EXPIRED = "expired"
    DENIED = "denied"
    DRAINED = "drained"
    BROKEN = "broken"


class Stream:
    """An open response to one browser.

    `is_behind` while the socket takes no more. What is pushed in the meantime is not kept, only the fact that
    something was (`has_missed`): a stalled reader costs one frame and two flags, for as long as it stalls.
    A farewell is kept, since nothing can make up for it. `is_waiting` while its snapshot comes from afar: a
    flush means nothing to it before that.

    Args:
        user_id: Whose it is.
        view: How much it tells.
        send: The server's (ASGI 3).
        expires_at: When its token ends.
        answer: The response that *send* sends, where the server shows it.
    """

    __slots__ = (
        "_answer",
        "_id",
        "_send",
        "ending",
        "expires_at",
        "farewell",
        "has_missed",
        "is_behind",
        "is_end_due",
        "is_waiting",
        "user_id",
        "view",
    )

    def __init__(
        self, user_id: str, view: View, send: Send, expires_at: datetime, answer: Answer | None = None
    ) -> None:
        self.user_id = user_id
        self.view = view
        self.expires_at = expires_at
        self._id = ""
        self.ending = Ending.GONE
        self.is_end_due = False
        self.is_behind = False
        self.has_missed = False
        self.is_waiting = False
        self.farewell: Part | None = None
        self._answer = answer
        # A server's `send` is a coroutine function (ASGI 3), which the type of it does not say.
        self._send = cast("Callable[[Message], Rest] | None", send)

    @property
    def id(self) -> str:
        """Its name in our log, which its browser is told once it may need it; made when it is asked for."""
        self._id = self._id or secrets.token_urlsafe(ID_BYTES)
        return self._id

    @property
    def is_open(self) -> bool:
        """Whether anything but a farewell can still be sent."""
        return self._send is not None and self.farewell is None

    def close(self) -> None:
        """Send nothing more, and let go of the connection at once, whoever still holds this stream."""
        self._send = self._answer = None

    def push(self, part: Part) -> Rest | None:
        """Send *part* now if the socket takes it; else the rest of that send, to be awaited by a task."""
        if self._send is None or self.is_behind:
            self.has_missed = True
            return None
        answer, chunk = self._answer, part.chunk
        try:
            if answer and chunk and not answer.flow.write_paused and not answer.disconnected:
                answer.transport.write(chunk)
                return None
            sending = self._send(part.message)
            if chunk is None:
                # The end is sent once, and nothing after it, however long the browser takes to read it.
                self.close()
            awaited = sending.send(None)
        except StopIteration:
            return None
        except Exception:
            # A stream that cannot be written to must not cost any other stream a frame.
            logger.exception("a stream broke off", extra={"stream_id": self.id})
            self.ending = Ending.BROKEN
            self.close()
            return None
        self.is_behind = True
        return _finished(sending, awaited)


@coroutine
def _finished(sending: Coroutine[Any, Any, None], awaited: object) -> Generator[Any, Any, None]:
    """Go on with a coroutine whose first step was taken outside of any task, and yielded *awaited*."""
    try:
        while True:
            try:
                sent = yield awaited
            except BaseException as error:  # noqa: BLE001 - whatever is thrown in belongs to the coroutine.
                awaited = sending.throw(error)
            else:
                awaited = sending.send(sent)
    except StopIteration:
        return
