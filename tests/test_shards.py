"""Users divided among relays: who is whose, and that each shard lives and dies by itself."""

import signal
from collections import Counter
from contextlib import AsyncExitStack
from uuid import UUID, uuid4

import anyio
import pytest

from progress_service.cluster.edges import Edges
from progress_service.core.shard import SHARDS_MAX, Shard, shard_number
from progress_service.feeds import poll
from progress_service.settings import Settings, SettingsError
from tests.cluster import edge, nats_server, relay, until
from tests.feeds import following, inserted
from tests.onlooker import Database
from tests.running import bearer, running, watching
from tests.test_cluster import completed, finish, statuses, work

pytestmark = pytest.mark.anyio


def someone_of(shard: Shard) -> UUID:
    """A user whom that shard has."""
    return next(user_id for _ in range(10_000) if shard.has(str(user_id := uuid4())))


@pytest.mark.parametrize("count", [2, 8, SHARDS_MAX])
def test_shards_are_about_equally_large_whatever_the_ids_look_like(count: int) -> None:
    """Ids that were counted up, or made from the date, must not all go to the same relay."""
    users = 1_000 * count
    counted = Counter(shard_number(str(UUID(int=number << 64)), count) for number in range(users))
    assert counted.keys() == set(range(1, count + 1))
    assert max(counted.values()) < 1_200


@pytest.mark.parametrize("kind", ["notify", "wal", "poll"])
async def test_each_job_is_told_by_the_feed_of_its_own_shard_alone(
    kind: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the snapshot, live, deleted and healed: else a user has two relays, or none."""
    monkeypatch.setattr(poll, "RECONCILE_SECONDS", 0.02)
    monkeypatch.setattr(poll, "POLL_SECONDS", 0.05)
    connection, shards = database.connection, [Shard(number, 3) for number in (1, 2, 3)]
    users = [someone_of(shard) for shard in shards]
    before = [await inserted(connection, user, label="before") for user in users]
    async with AsyncExitStack() as stack:
        feeds = [await stack.enter_async_context(following(database.dsn, kind, shard)) for shard in shards]
        # One that is too long to be sent as a notification, and is looked up.
        long = [await inserted(connection, user, label="long", error="x" * 9_000) for user in users]
        after = [await inserted(connection, user, label="after") for user in users]
        for (listener, _), old, longest, new in zip(feeds, before, long, after, strict=True):
            await listener.job(new, label="after")
            assert {job.id for user in users for job in listener.jobs.view(str(user))} == {
                str(old),
                str(longest),
                str(new),
            }
        await connection.execute(
            "DELETE FROM bulk_enrichment_jobs WHERE id = ANY($1::uuid[])", [*before, *long]
        )
        for (listener, feed), old, longest in zip(feeds, before, long, strict=True):
            await listener.gone(old)
            await listener.gone(longest)
            assert len(listener.jobs) == 1
            assert feed.counters.repairs == 0


@pytest.mark.parametrize("kind", ["notify", "wal", "poll"])
async def test_a_job_that_changes_hands_leaves_one_shard_for_the_other_and_comes_back(
    kind: str, database: Database
) -> None:
    """Its old owner's page would show it for ever, since that relay hears of it no more."""
    one, two = Shard(1, 2), Shard(2, 2)
    ada, grace = someone_of(one), someone_of(two)
    job = await inserted(database.connection, ada)
    give = "UPDATE bulk_enrichment_jobs SET user_id = $2 WHERE id = $1"
    async with (
        following(database.dsn, kind, one) as (first, feed),
        following(database.dsn, kind, two) as (
            second,
            _,
        ),
    ):
        await database.connection.execute(give, job, grace)
        await second.job(job, user_id=str(grace))
        await first.gone(job)
        await database.connection.execute(give, job, ada)
        await first.job(job, user_id=str(ada))
        await second.gone(job)
        await database.connection.execute("DELETE FROM bulk_enrichment_jobs WHERE id = $1", job)
        await first.gone(job)
        assert feed.counters.repairs == 0


async def test_each_shard_has_a_relay_and_the_end_of_one_leaves_the_others_alone(database: Database) -> None:
    """What sharding is for: as many boards as need be, and none of them a single point of failure for all."""
    ada, grace = [someone_of(Shard(number, 2)) for number in (1, 2)]
    hers, other = [await inserted(database.connection, user) for user in (ada, grace)]
    async with (
        nats_server() as nats,
        relay(database.dsn, nats.address, PROGRESS_SHARD="1/2") as first,
        relay(database.dsn, nats.address, PROGRESS_SHARD="2/2") as second,
        edge(database.dsn, nats.address, shards=2) as at,
        watching(at.http, ada) as ada_sees,
        watching(at.http, grace) as grace_sees,
    ):
        for leader in (first, second):
            await leader.until("this relay leads")
        assert (completed(ada_sees), completed(grace_sees)) == ([0], [0])
        await work(database, hers, 10)
        await work(database, other, 20)
        await ada_sees.until(lambda: completed(ada_sees) == [10])
        await grace_sees.until(lambda: completed(grace_sees) == [20])
        listed = await at.http.get("/v1/jobs", headers=bearer(grace))
        assert [job["id"] for job in listed.json()["jobs"]] == [str(other)]

        first.process.send_signal(signal.SIGKILL)
        await ada_sees.until(lambda: [feed["state"] for feed in ada_sees.named("feed")] == ["lost"])
        # The others' edge is as ready as before, and says that not all is well.
        ready = await at.http.get("/readyz")
        assert (ready.status_code, ready.json()["feed"]) == (200, "degraded")
        await finish(database, other)
        await grace_sees.until(lambda: "completed" in statuses(grace_sees))
        assert grace_sees.named("feed") == []

        await finish(database, hers)
        async with relay(database.dsn, nats.address, PROGRESS_SHARD="1/2"):
            await ada_sees.until(lambda: "completed" in statuses(ada_sees))
        edges = at.service.source
        assert isinstance(edges, Edges)
        assert edges.users == 2


async def test_more_shards_are_brought_in_beside_the_old_ones(database: Database) -> None:
    """Relays of another division speak on other subjects, so edges can move to them one by one."""
    job = await inserted(database.connection, database.user_id)
    async with (
        nats_server() as nats,
        relay(database.dsn, nats.address) as whole,
        edge(database.dsn, nats.address) as old,
        watching(old.http, database.user_id) as ada,
        AsyncExitStack() as stack,
    ):
        for number in (1, 2):
            made = relay(database.dsn, nats.address, PROGRESS_SHARD=f"{number}/2")
            await (await stack.enter_async_context(made)).until("this relay leads")
        async with (
            edge(database.dsn, nats.address, shards=2) as new,
            watching(new.http, database.user_id) as grace,
        ):
            await work(database, job, 10)
            for browser in (ada, grace):
                await browser.until(lambda browser=browser: completed(browser) == [10])  # type: ignore[misc]
        assert "leads no longer" not in whole.text


async def test_two_relays_of_one_shard_have_one_leader(database: Database) -> None:
    """The lock is the shard's: a second relay of it waits, and takes over when the first is gone."""
    user = someone_of(Shard(2, 2))
    job = await inserted(database.connection, user)
    async with (
        nats_server() as nats,
        relay(database.dsn, nats.address, PROGRESS_SHARD="2/2") as leader,
        edge(database.dsn, nats.address, shards=2) as at,
        relay(database.dsn, nats.address, PROGRESS_SHARD="2/2") as standby,
        watching(at.http, user) as ada,
    ):
        await standby.until("changes are followed by")
        assert "this relay leads" not in standby.text
        leader.process.terminate()
        with anyio.fail_after(20):
            await leader.process.wait()
        await finish(database, job)
        await ada.until(lambda: "completed" in statuses(ada))
        assert "this relay leads" in standby.text


async def test_an_edge_that_counts_other_shards_than_the_relays_says_whom_it_misses(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """It hears nobody, and would look like an edge whose relays are all away."""
    async with (
        nats_server() as nats,
        relay(database.dsn, nats.address, PROGRESS_SHARD="1/2") as leader,
        running(database.dsn, feed=nats.address, shards=3) as service,
    ):
        await leader.until("this relay leads")
        await until(lambda: caplog.text.count("is not heard") == 3)
        assert "the relay of shard 3/3 is not heard" in caplog.text
        assert (await service.http.get("/readyz")).status_code == 503


@pytest.mark.parametrize("value", ["0/2", "3/2", "1", "1/0", "1/257", "01/2", "1/2/3", "a/b", "1/ 2"])
def test_a_shard_that_does_not_exist_is_refused(value: str) -> None:
    """A relay of no shard would run for ever and tell nobody."""
    with pytest.raises(SettingsError, match=r"--shard is .*; it must be like 3/8, the third of eight"):
        Settings(_env_file=None, shard=value)


def test_shards_are_for_edges_alone() -> None:
    """Who sets it elsewhere believes that the work is divided, and it is not."""
    with pytest.raises(SettingsError, match="PROGRESS_SHARDS is 4, and PROGRESS_FEED is 'notify'"):
        Settings(_env_file=None, shards=4, feed="notify").require_relays()
    Settings(_env_file=None, shards=4, feed="nats://a").require_relays()
