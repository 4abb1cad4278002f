"""What the settings say to each part, as the values that the part takes."""

from collections.abc import Mapping

from progress_service.api.access import AccessPolicy
from progress_service.api.limits import StreamLimits
from progress_service.cluster.line import Servers
from progress_service.core.shard import Shard
from progress_service.settings import Settings


def servers_of(settings: Settings, addresses: tuple[str, ...]) -> Servers:
    """What the settings say about NATS."""
    return Servers(
        addresses,
        credentials=settings.nats_credentials,
        tls_ca=settings.nats_tls_ca,
        tls_cert=settings.nats_tls_cert,
        tls_key=settings.nats_tls_key,
    )


def shard_of(settings: Settings) -> Shard:
    """The part of the users that the settings of a relay name."""
    number, count = settings.shard.split("/")
    return Shard(int(number), int(count))


def access_policy(settings: Settings) -> AccessPolicy:
    """What the settings say about tokens."""
    return AccessPolicy(
        algorithms=settings.accepted_algorithms,
        signing_key=settings.signing_key,
        secret=settings.jwt_key,
        jwks_url=settings.jwks_url,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        ticket_seconds=settings.ticket_seconds,
        session_seconds_max=settings.session_seconds_max,
        cookie_samesite=settings.cookie_samesite,
        cookie_secure=settings.cookie_secure,
    )


def stream_limits(settings: Settings) -> StreamLimits:
    """What the settings say about the number of streams."""
    return StreamLimits(
        per_user_max=settings.streams_per_user_max,
        per_address_max=settings.streams_per_address_max,
        total_max=settings.streams_max,
    )


def limits(settings: Settings) -> Mapping[str, int]:
    """The limits whose use an operator can watch, by the names that their refusals are counted under."""
    return {
        "streams": settings.streams_max,
        "streams_per_user": settings.streams_per_user_max,
        "streams_per_address": settings.streams_per_address_max,
        "commands_per_minute": settings.commands_per_minute_max,
    }
