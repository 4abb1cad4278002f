"""The kinds of work that the estimator is tried on, each with ranges from which a seed draws one job.

`TRAINING` are those on which its constants were chosen and its range fitted. `HELD_OUT` are such work with
other parameters, to be run with other seeds; nothing was fitted on them. `UNLIKE` is work for which nothing
is promised: there one sees where an estimator ends.
"""

from collections.abc import Callable, Mapping
from random import Random

from loadtest.traces import Trace, Work, traced

Kind = Callable[[Random], Work]


def _steady(random: Random) -> Work:
    return Work(random.randint(1_500, 4_500), 0.2)


def _batches_of_50(random: Random) -> Work:
    return Work(50 * random.randint(25, 60), random.uniform(0.2, 0.5), batch=50, batch_spread=0.25)


def _slowdown(random: Random) -> Work:
    turn = (random.uniform(0.3, 0.6), 3.0)
    return Work(random.randint(1_200, 2_400), 0.2, batch=10, batch_spread=0.2, turns=(turn,))


def _stalls(random: Random) -> Work:
    return Work(
        random.randint(1_500, 3_000),
        0.2,
        batch=10,
        stall_every_seconds=random.uniform(90, 180),
        stall_seconds=30,
    )


def _cached(random: Random) -> Work:
    return Work(random.randint(2_000, 4_000), 0.3, cached_share=0.3)


def _cached_first(random: Random) -> Work:
    return Work(random.randint(2_000, 4_000), 0.3, cached_share=0.3, cached_first=True)


def _pause(random: Random) -> Work:
    pause = (random.uniform(0.2, 0.7), random.uniform(60, 240))
    return Work(random.randint(1_500, 3_000), 0.3, batch=25, batch_spread=0.2, pauses=(pause,))


TRAINING: Mapping[str, Kind] = {
    "steady": _steady,
    "batches of 50": _batches_of_50,
    "threefold slowdown": _slowdown,
    "stalls": _stalls,
    "30 % cached": _cached,
    "30 % cached first": _cached_first,
    "a pause": _pause,
}


def _quick(random: Random) -> Work:
    return Work(random.randint(300, 700), 0.2, item_spread=0.7)


def _long(random: Random) -> Work:
    return Work(random.randint(3_000, 8_000), 0.4, item_spread=0.5)


def _small_batches(random: Random) -> Work:
    return Work(25 * random.randint(50, 100), random.uniform(0.1, 0.25), batch=25, batch_spread=0.25)


def _large_batches(random: Random) -> Work:
    return Work(
        120 * random.randint(15, 35), random.uniform(0.3, 0.8), batch=120, batch_spread=0.3, drift=0.1
    )


def _milder_slowdown(random: Random) -> Work:
    turn = (random.uniform(0.2, 0.6), 2.5)
    return Work(random.randint(1_000, 2_200), 0.3, batch=15, batch_spread=0.2, turns=(turn,))


def _harsher_slowdown(random: Random) -> Work:
    turn = (random.uniform(0.3, 0.8), 4.5)
    return Work(random.randint(1_500, 3_000), 0.12, turns=(turn,))


def _longer_stalls(random: Random) -> Work:
    return Work(random.randint(2_000, 4_000), 0.25, batch=15, stall_every_seconds=270, stall_seconds=55)


def _shorter_stalls(random: Random) -> Work:
    return Work(random.randint(2_000, 4_000), 0.2, batch=8, stall_every_seconds=50, stall_seconds=9)


def _some_cached(random: Random) -> Work:
    return Work(random.randint(700, 1_600), 0.7, cached_share=0.25, item_spread=0.75)


def _many_cached(random: Random) -> Work:
    return Work(random.randint(2_000, 5_000), 0.35, cached_share=0.45, batch=12, batch_spread=0.25)


def _most_cached_first(random: Random) -> Work:
    return Work(random.randint(2_000, 4_000), 0.5, cached_share=0.75, cached_first=True, batch=30)


def _two_pauses(random: Random) -> Work:
    pauses = tuple((random.uniform(0.1, 0.9), random.uniform(30, 350)) for _ in range(2))
    return Work(random.randint(1_000, 2_000), 0.5, batch=35, batch_spread=0.3, pauses=pauses)


def _resumed(random: Random) -> Work:
    done_before = random.uniform(0.3, 0.9)
    return Work(random.randint(2_000, 4_000), 0.35, batch=30, batch_spread=0.25, done_before=done_before)


HELD_OUT: Mapping[str, Kind] = {
    "steady, quick": _quick,
    "steady, long": _long,
    "batches of 25": _small_batches,
    "batches of 120": _large_batches,
    "2.5-fold slowdown": _milder_slowdown,
    "4.5-fold slowdown": _harsher_slowdown,
    "rarer, longer stalls": _longer_stalls,
    "more, shorter stalls": _shorter_stalls,
    "25 % cached": _some_cached,
    "45 % cached": _many_cached,
    "75 % cached first": _most_cached_first,
    "two pauses": _two_pauses,
    "resumed": _resumed,
}


def _speedup(random: Random) -> Work:
    turn = (random.uniform(0.2, 0.6), random.uniform(0.3, 0.6))
    return Work(random.randint(1_000, 2_000), 0.6, batch=20, batch_spread=0.2, turns=(turn,))


def _wandering(random: Random) -> Work:
    return Work(random.randint(2_000, 5_000), 0.3, batch=5, drift=0.4)


def _slow_items(random: Random) -> Work:
    return Work(random.randint(100, 300), random.uniform(4, 12), item_spread=0.8, drift=0.2)


def _cached_in_runs(random: Random) -> Work:
    return Work(
        random.randint(1_500, 3_000), 0.5, cached_share=random.uniform(0.1, 0.6), cached_run=20, batch=25
    )


def _growing(random: Random) -> Work:
    return Work(random.randint(1_500, 3_000), 0.3, batch=10, batch_spread=0.2, total_known=0.5)


UNLIKE: Mapping[str, Kind] = {
    "twice or thrice as fast": _speedup,
    "wandering speed": _wandering,
    "slow, uneven items": _slow_items,
    "cached in runs": _cached_in_runs,
    "a growing total": _growing,
}


def traces(kinds: Mapping[str, Kind], seeds: range) -> list[Trace]:
    """One job of each kind for each seed."""
    # Not for secrets: it has to be the same for everyone.
    return [
        traced(kind, work(Random(f"{kind}, work {seed}")), seed)  # noqa: S311
        for kind, work in kinds.items()
        for seed in seeds
    ]
