"""An edge of several relays: users are divided among them, and each tells of its own.

There is an `Edge` for each shard, with a line, a fence and questions of its own, so that nothing which
befalls one relay concerns the users of another. Which of them is asked about a user, the user's id says.
"""

from collections import Counter
from collections.abc import Callable
from datetime import datetime

import anyio

from progress_service.cluster.edge import Edge
from progress_service.cluster.line import Servers
from progress_service.core.estimate import Estimate
from progress_service.core.events import FeedState
from progress_service.core.model import Instant
from progress_service.core.shard import Shard, shard_number
from progress_service.streams.hub import Hub
from progress_service.wire.frames import View


class Edges:
    """Follows the relays of all shards, in the place of a single `Edge`.

    Args:
        servers: The NATS between relays and edges.
        count: How many shards there are; each has a relay that was started as `--shard NUMBER/COUNT`.
        clock: The monotonic clock.
        wall_clock: The date that pages are told.
    """

    def __init__(
        self,
        servers: Servers,
        count: int,
        *,
        clock: Callable[[], Instant],
        wall_clock: Callable[[], datetime],
    ) -> None:
        self.feed_kind = "nats"
        self.feed_reason = ""
        self._edges = [
            Edge(servers, clock=clock, wall_clock=wall_clock, shard=Shard(number, count))
            for number in range(1, count + 1)
        ]

    def publish_to(self, hub: Hub) -> None:
        """Name who has the streams."""
        for edge in self._edges:
            edge.publish_to(hub)

    @property
    def users(self) -> int:
        """How many users are followed."""
        return sum(edge.users for edge in self._edges)

    @property
    def feed_state(self) -> FeedState:
        """What all relays' feeds are, if they are the same; DEGRADED where some users are told and some not.

        An edge that were not ready because of one relay would leave the users of all others without an edge.
        """
        states = {edge.feed_state for edge in self._edges}
        return states.pop() if len(states) == 1 else FeedState.DEGRADED

    @property
    def feed_turns(self) -> Counter[FeedState]:
        """How often the feed of any shard turned to a state."""
        return sum((edge.feed_turns for edge in self._edges), Counter())

    def snapshot(self, user_id: str, view: View) -> None:
        """Have the user's snapshot told to the streams that wait for it."""
        self._edge_of(user_id).snapshot(user_id, view)

    async def snapshot_json(self, user_id: str) -> bytes:
        """Everything of a user, as a JSON object.

        Raises:
            TimeoutError: The relay of this user does not answer.
        """
        return await self._edge_of(user_id).snapshot_json(user_id)

    def estimate(self, job_id: str) -> Estimate:
        """What only a board knows of a job is not known here."""
        return self._edges[0].estimate(job_id)

    async def run(self) -> None:
        """Follow all relays until cancelled.

        Raises:
            LineRefused: NATS cannot be used as things are set up.
        """
        async with anyio.create_task_group() as tasks:
            for edge in self._edges:
                tasks.start_soon(edge.run)

    def _edge_of(self, user_id: str) -> Edge:
        return self._edges[shard_number(user_id, len(self._edges)) - 1]
