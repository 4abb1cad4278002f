"""What a program is doing at the moment: a line on a terminal, or a plain one now and then in a log.

Nothing is drawn but when something is said: a clock that redraws itself would take of the core that reads.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PLAIN_SECONDS = 10.0
DRAWN_SECONDS = 0.25


class Live:
    """Says what is being done. `live` makes one."""

    def __init__(self, title: str, steps: int, progress: Progress | None) -> None:
        self._title = title
        self._steps = steps
        self._done = -1
        self._step = ""
        self._said_at = 0.0
        self._progress = progress
        self._task = None if progress is None else progress.add_task(title, total=steps)

    def step(self, text: str) -> None:
        """The next step begins."""
        self._done += 1
        self._step = text
        self._said_at = time.monotonic()
        if self._progress is None:
            print(f"{self._title}, {self._done + 1} of {self._steps}: {text}", file=sys.stderr, flush=True)
        else:
            self._draw(text)

    def say(self, text: str) -> None:
        """How far this step is. Cheap enough to be called often."""
        now = time.monotonic()
        if now - self._said_at < (PLAIN_SECONDS if self._progress is None else DRAWN_SECONDS):
            return
        self._said_at = now
        if self._progress is None:
            print(f"  {text}", file=sys.stderr, flush=True)
        else:
            self._draw(f"{self._step}: {text}")

    def _draw(self, text: str) -> None:
        assert self._progress is not None
        assert self._task is not None
        self._progress.update(self._task, completed=self._done, description=f"{self._title}: {text}")
        self._progress.refresh()


@contextmanager
def live(title: str, steps: int) -> Iterator[Live]:
    """Say what is being done until left; there will be that many steps."""
    screen = Console(stderr=True)
    if not screen.is_terminal:
        yield Live(title, steps, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, auto_refresh=False, transient=True) as progress:
        yield Live(title, steps, progress)
