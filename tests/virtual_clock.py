"""A clock that stands still until a test moves it."""

from progress_service.core.model import Instant


class VirtualClock:
    """Called like the real one."""

    def __init__(self) -> None:
        self.now = Instant(1_024.0)

    def __call__(self) -> Instant:
        """The instant at which it stands."""
        return self.now

    def advance(self, seconds: float) -> Instant:
        """Let time pass."""
        self.now = Instant(self.now + seconds)
        return self.now
