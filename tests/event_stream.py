"""A reader of event streams, to the letter of the HTML standard: tests see what a browser would see.

HTML standard, section 9.2.6, "Interpreting an event stream". Bytes may come in pieces of any size.

    reader = EventStreamReader()
    for chunk in chunks:
        for event in reader.feed(chunk):
            print(event.type, event.json())
"""

import codecs
import json
import re
from dataclasses import dataclass
from typing import Any

LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Event:
    """What a page's listener is given. `retry_ms` is the reconnection time in force at that moment."""

    type: str
    data: str
    last_event_id: str = ""
    retry_ms: int | None = None

    def json(self) -> Any:
        """The data, read as JSON."""
        return json.loads(self.data)


class EventStreamReader:
    """Turns the bytes of one response into events.

    `comments` counts the comment lines, which no page hears of: they keep idle streams alive. An event that
    the stream's end cuts off is never told, as the standard says.
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self.comments = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._is_at_start = True
        self._is_after_cr = False
        self._line = ""
        self._type = ""
        self._data = ""
        self._id = ""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that *chunk* completes."""
        events = (self._take_line(line) for line in self._lines(chunk))
        return [event for event in events if event is not None]

    def _lines(self, chunk: bytes) -> list[str]:
        text = self._decoder.decode(chunk)
        if not text:
            return []
        if self._is_at_start:
            self._is_at_start = False
            text = text.removeprefix("\ufeff")
        if self._is_after_cr:
            # The CR ended its line at once; an LF behind it belongs to that same end.
            text = text.removeprefix("\n")
            self._is_after_cr = False
        self._is_after_cr = text.endswith("\r")
        *lines, self._line = LINE_END.split(self._line + text)
        return lines

    def _take_line(self, line: str) -> Event | None:
        if not line:
            return self._dispatched()
        name, _, value = line.partition(":")
        if name:
            self._take_field(name, value.removeprefix(" "))
        else:
            self.comments += 1
        return None

    def _take_field(self, name: str, value: str) -> None:
        match name:
            case "event":
                self._type = value
            case "data":
                self._data += value + "\n"
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_ms = int(value)

    def _dispatched(self) -> Event | None:
        self.last_event_id = self._id
        type_, data = self._type or "message", self._data
        self._type = self._data = ""
        return Event(type_, data.removesuffix("\n"), self._id, self.retry_ms) if data else None


def events_in(stream: bytes) -> list[Event]:
    """All events of a whole stream."""
    return EventStreamReader().feed(stream)
