"""`GET /v1/stream` as any client may ask for it, without a socket in between."""

from typing import Any

import anyio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message, Scope

from progress_service.api.access import Access, AccessPolicy
from progress_service.api.answers import Answers
from progress_service.api.cors import Origins
from progress_service.api.guards import SECURITY_HEADERS
from progress_service.api.limits import Addresses, StreamLimits
from progress_service.api.stream import StreamRoute
from progress_service.parts import wall_clock
from progress_service.streams.beat import Beat
from progress_service.streams.hub import Hub
from tests.running import SECRET, token
from tests.virtual_clock import VirtualClock

USER_ID = "6f1c1a7e-3f0b-4c55-9d0e-2b1f6a9c7d11"
POLICY = AccessPolicy(algorithms=["HS256"], secret=SECRET.encode(), signing_key=b"x" * 32)


class Door:
    """The route with its hub, and no jobs."""

    def __init__(self) -> None:
        origins = Origins(["https://app.example.com"])
        self.hub = Hub(
            Beat(VirtualClock()),
            snapshot=lambda *_: b"event: snapshot\ndata: {}\n\n",
            wall_clock=wall_clock,
            heartbeat_seconds=15,
        )
        self.addresses = Addresses([])
        self._answers = Answers()
        self._route = StreamRoute(
            Access(POLICY, origins),
            origins,
            self.hub,
            limits=StreamLimits(per_user_max=1, per_address_max=1, total_max=1),
            addresses=self.addresses,
            answers=self._answers,
        )

    def answer(self, scope: Scope) -> list[Message]:
        """What is sent to a browser that leaves as soon as it has its first frame."""
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        async def serve() -> None:
            self._answers.begin(scope)
            await self._route(scope, receive, send)

        anyio.run(serve)
        return sent


def scope_of(**parts: Any) -> Scope:
    """A good request, but for *parts*."""
    good: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/stream",
        "query_string": b"",
        "client": ("192.0.2.7", 1),
        "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {token(USER_ID)}".encode())],
    }
    return good | parts


def test_a_good_request_opens_a_stream_that_leaves_nothing_behind() -> None:
    """What is counted for a stream has to be uncounted with it, or a user is locked out in the end."""
    door = Door()
    for _ in range(3):
        start, first = door.answer(scope_of())
        assert start["status"] == 200
        assert set(SECURITY_HEADERS) <= set(start["headers"])
        retry, _, frame = first["body"].partition(b"\n\n")
        assert 500 <= int(retry.removeprefix(b"retry: ")) <= 1_500
        assert frame.startswith(b"event: snapshot")
    assert door.hub.streams == 0
    assert door.addresses.streams("192.0.2.7") == 0


QUERIES = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda name, value: f"{name}={value}".encode(),
        st.sampled_from(["view", "ticket", "token", "access_token", "%76iew"]),
        st.one_of(st.sampled_from(["full", "compact", token(USER_ID), ""]), st.text(max_size=20)),
    ),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"authorization", b"cookie", b"origin", b"last-event-id", b"host", b"accept", b"x"]),
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from(
                [
                    f"Bearer {token(USER_ID)}".encode(),
                    f"progress_session={token(USER_ID)}".encode(),
                    b"https://app.example.com",
                    b"null",
                ]
            ),
        ),
    ),
    max_size=6,
)
CLIENTS = st.sampled_from([None, ("192.0.2.7", 1), ("::1", 0), ("", 1), ["fe80::1%eth0", 1]])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    query=QUERIES,
    headers=HEADERS,
    client=CLIENTS,
    method=st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "TRACE", "\udcff"]),
)
def test_any_request_for_a_stream_is_answered_once_and_leaves_nothing_behind(
    query: bytes, headers: list[tuple[bytes, bytes]], client: Any, method: str
) -> None:
    """Fuzzers of documents cannot read a stream that never ends, so its ways in are fuzzed here."""
    door = Door()
    messages = door.answer(scope_of(query_string=query, headers=headers, client=client, method=method))
    start, *bodies = messages
    assert start["type"] == "http.response.start"
    assert start["status"] in (200, 400, 401, 403, 405)
    assert all(message["type"] == "http.response.body" for message in bodies)
    for name, value in start["headers"]:
        assert not set(name + value) & set(b"\r\n\0")
    assert door.hub.streams == 0
