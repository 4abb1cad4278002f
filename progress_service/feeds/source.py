"""The port of a source of hints."""

from typing import Literal, Protocol

Kind = Literal["notify", "wal", "poll"]


class Source(Protocol):
    """A source of hints. It is open from before all rows are read, so that no change falls in between."""

    @property
    def kind(self) -> Kind:
        """Which one it is."""
        ...

    async def run(self) -> None:
        """Give hints until the connection fails, or reading has become too expensive (`FeedUnsupported`)."""
        ...
