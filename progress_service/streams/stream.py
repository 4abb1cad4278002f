"""One browser's stream, and how a frame is pushed into it without waking a task.

The server's `send` does not suspend while the socket takes the bytes, so a push drives it for one step and is
done. Only where it does suspend, at a slow reader, is something left that a task has to wait for.
"""

import logging
from collections.abc import Callable, Coroutine, Generator
from datetime import datetime
from types import coroutine
from typing import Any, cast

from starlette.types import Message, Send

from progress_service.wire.frames import View

logger = logging.getLogger(__name__)

Rest = Coroutine[Any, Any, None]
"""What is left of a send that had to wait: await it, in a task."""


def body(frame: bytes, *, is_last: bool = False) -> Message:
    """A frame as an ASGI message. One message may be pushed to any number of streams."""
    return {"type": "http.response.body", "body": frame, "more_body": not is_last}


class Stream:
    """An open response to one browser.

    `is_behind` while the socket takes no more. What is pushed in the meantime is not kept, only the fact that
    something was (`has_missed`): a stalled reader costs one frame and two flags, for as long as it stalls.
    A farewell is kept, since nothing can make up for it. `is_waiting` while its snapshot comes from afar: a
    flush means nothing to it before that.
    """

    __slots__ = (
        "_send",
        "expires_at",
        "farewell",
        "has_missed",
        "id",
        "is_behind",
        "is_end_due",
        "is_waiting",
        "user_id",
        "view",
    )

    def __init__(self, user_id: str, view: View, send: Send, expires_at: datetime) -> None:
        self.user_id = user_id
        self.view = view
        self.expires_at = expires_at
        self.id: str | None = None
        self.is_end_due = False
        self.is_behind = False
        self.has_missed = False
        self.is_waiting = False
        self.farewell: Message | None = None
        # A server's `send` is a coroutine function (ASGI 3), which the type of it does not say.
        self._send = cast("Callable[[Message], Rest] | None", send)

    @property
    def is_open(self) -> bool:
        """Whether anything but a farewell can still be sent."""
        return self._send is not None and self.farewell is None

    def close(self) -> None:
        """Send nothing more, and let go of the connection at once, whoever still holds this stream."""
        self._send = None

    def push(self, message: Message) -> Rest | None:
        """Send *message* now if the socket takes it; else the rest of that send, to be awaited by a task."""
        if self._send is None or self.is_behind:
            self.has_missed = True
            return None
        sending = self._send(message)
        if not message["more_body"]:
            # The end is sent once, and nothing after it, however long the browser takes to read it.
            self._send = None
        try:
            awaited = sending.send(None)
        except StopIteration:
            return None
        except Exception:
            # A stream that cannot be written to must not cost any other stream a frame.
            logger.exception("a stream broke off")
            self._send = None
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
