"""Mercure's hub, which is named and not measured."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from loadtest.peers.peer import Peer, Running


class Mercure(Peer):
    """Absent: whoever has its Go module can add it in the manner of `centrifugo`."""

    name = "mercure"
    is_installable = False

    def version(self) -> str:
        """None."""
        return ""

    def absent(self) -> str | None:
        """Why it is never measured."""
        return (
            "the module proxy of Go refused its module, github.com/dunglas/mercure, where this was written, "
            "so no set-up of it could be tried"
        )

    def running(self, core: Sequence[int] = (), dsn: str | None = None) -> AbstractContextManager[Running]:
        """It does not run."""
        del core, dsn
        raise RuntimeError(f"{self.name} is absent: {self.absent()}")
