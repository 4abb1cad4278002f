"""Which users some edge watches, and up to where each was told. Pure.

An edge says so by asking for a snapshot, and again every few seconds. A user of whom nobody has spoken for a
while is watched by nobody, and costs nothing.
"""

from collections.abc import Iterable
from math import inf

from progress_service.core.model import Instant
from progress_service.wire.frames import View

LEASE_SECONDS = 20.0
"""How long the word of an edge holds."""

NOBODY: frozenset[View] = frozenset()


class _Watch:
    __slots__ = ("next_end", "until", "version", "views")

    def __init__(self, version: int) -> None:
        self.version = version
        self.until: dict[View, Instant] = {}
        self.views = NOBODY
        self.next_end: float = inf


class Interest:
    """All users that are watched."""

    def __init__(self) -> None:
        self._watches: dict[str, _Watch] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def note(self, user_id: str, views: Iterable[View], now: Instant, version: int) -> None:
        """Some edge watches these views; whoever is new knows everything up to *version*."""
        watch = self._watches.get(user_id)
        if watch is None:
            watch = self._watches[user_id] = _Watch(version)
        for view in views:
            watch.until[view] = Instant(now + LEASE_SECONDS)
        _settle(watch, now)

    def views(self, user_id: str, now: Instant) -> frozenset[View]:
        """The views of a user that are watched."""
        watch = self._watches.get(user_id)
        if watch is None:
            return NOBODY
        if now >= watch.next_end:
            _settle(watch, now)
            if not watch.views:
                del self._watches[user_id]
        return watch.views

    def told(self, user_id: str, version: int) -> int:
        """Note that a user is told *version*, and give the version that came before it."""
        watch = self._watches[user_id]
        previous, watch.version = watch.version, version
        return previous

    def is_behind(self, user_id: str, version: int) -> bool:
        """Whether an edge that was told *version* has missed something, or may have."""
        watch = self._watches.get(user_id)
        return watch is None or version < watch.version

    def forget_lapsed(self, now: Instant) -> None:
        """Let go of those who are no longer watched."""
        for user_id in list(self._watches):
            self.views(user_id, now)

    def clear(self) -> None:
        """Forget everyone."""
        self._watches.clear()


def _settle(watch: _Watch, now: Instant) -> None:
    watch.until = {view: until for view, until in watch.until.items() if until > now}
    watch.views = frozenset(watch.until)
    watch.next_end = min(watch.until.values(), default=Instant(-inf))
