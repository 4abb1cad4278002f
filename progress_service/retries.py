"""How long to wait before the next try of what has failed."""

import random


def pause_seconds(failures: int, shortest: float, longest: float) -> float:
    """The time until the next try, after so many *failures* before this one.

    It doubles from *shortest* to *longest* seconds, and is then cut by up to a half, at random, so that many
    instances do not come at once.
    """
    pause = min(longest, shortest * 2 ** min(failures, 10))
    return random.uniform(pause / 2, pause)  # noqa: S311 - spreads load; guards nothing.
