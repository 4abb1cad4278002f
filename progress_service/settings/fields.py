"""The list of settings: each with its type, its default and its limits, and what it is.

`DATABASE_URL` has no prefix because every host names it so; all else is `PROGRESS_` and the field's name in
capitals. The table of settings in docs/operations.md is made from this list.
"""

from pathlib import Path
from typing import Final, Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from progress_service.core.shard import SHARDS_MAX
from progress_service.settings.values import (
    Algorithms,
    DatabaseUrl,
    Feed,
    Hosts,
    KeptSeconds,
    NatsAddresses,
    Networks,
    Origins,
    ShardText,
    WebAddress,
)

PREFIX: Final = "PROGRESS_"
PORT_MAX: Final = 65_535


class Fields(BaseSettings):
    """Every setting; each is described where it stands."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, use_attribute_docstrings=True)

    database_url: DatabaseUrl = Field(
        default=None, validation_alias=AliasChoices("database_url", "DATABASE_URL")
    )
    """The PostgreSQL that has the jobs, as postgresql://user:password@host:5432/database."""

    host: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 is every address of this machine."""

    port: int = Field(default=8080, ge=0, le=PORT_MAX)
    """The TCP port; 0 lets the system choose a free one."""

    metrics_host: str = "127.0.0.1"
    """The address at which Prometheus finds /metrics; of another machine: 0.0.0.0, and a closed firewall."""

    metrics_port: int | None = Field(default=None, ge=0, le=PORT_MAX)
    """The TCP port of /metrics and of a relay's probes, of the first of several workers; unset: none."""

    log_format: Literal["text", "json"] = "text"
    """How the log is written: text is for people, json one object a line."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What the log leaves out: all below this. debug has a line for each request and each stream."""

    feed: Feed = "auto"
    """How changes come: auto is notify if it works; wal is the log, poll a look a second, nats:// a relay."""

    nats: NatsAddresses = ()
    """The NATS by which a relay tells its edges, nats://host:4222 or tls://host:4222; several with commas."""

    shard: ShardText = "1/1"
    """The part of all users that a relay is for: 3/8 is the third of eight."""

    shards: int = Field(default=1, ge=1, le=SHARDS_MAX)
    """How many parts the users are divided into, each with a relay; every edge has to know."""

    nats_credentials: Path | None = None
    """The credentials file (.creds) that NATS lets us in with."""

    nats_tls_ca: Path | None = None
    """The certificates (PEM) that vouch for NATS, where the system's do not."""

    nats_tls_cert: Path | None = None
    """Our own certificate (PEM), where NATS asks for one."""

    nats_tls_key: Path | None = None
    """Its key (PEM); unset where the file of the certificate has it."""

    jwt_secret: SecretStr | None = None
    """The secret that access tokens are signed with (HS256, HS384, HS512)."""

    jwks_url: WebAddress = None
    """Where the public keys of access tokens are published (RS, PS, ES, EdDSA)."""

    jwt_algorithms: Algorithms = ()
    """The accepted algorithms; unset means HS256 with a secret, and RS256 and ES256 with a JWKS URL."""

    jwt_audience: str | None = None
    """What `aud` of an access token must name; unset means that it is not looked at."""

    jwt_issuer: str | None = None
    """What `iss` of an access token must be; unset means that it is not looked at."""

    signing_secret: SecretStr | None = None
    """The secret for our own session cookies and tickets; unset means one derived from the JWT secret."""

    ticket_seconds: float = Field(default=30.0, ge=1, le=300)
    """How long a ticket opens a stream."""

    session_seconds_max: float = Field(default=86_400.0, ge=60, le=2_592_000)
    """How long a session cookie lasts at most; it never outlives the token that it was made from."""

    cookie_samesite: Literal["lax", "strict", "none"] = "lax"
    """Which sites' pages send the cookie; none (which implies Secure) is for pages on a foreign site."""

    cookie_secure: bool = False
    """Marks the cookie Secure also where a proxy hides from us that the page came by https."""

    allowed_origins: Origins = ()
    """The other sites whose pages may read our answers, such as https://app.example.com."""

    allowed_hosts: Hosts = ()
    """The names that requests may call us by in Host; unset means every one. Probes may use any."""

    linger_seconds: float = Field(default=5.0, ge=0, le=3600)
    """How long a finished job stays on the screen."""

    flush_seconds: float = Field(default=0.1, ge=0.01, le=10)
    """The shortest time between two frames for one user."""

    heartbeat_seconds: float = Field(default=15.0, ge=0.1, le=300)
    """How long a stream may be silent before a comment keeps it alive."""

    streams_per_user_max: int = Field(default=20, ge=1, le=10_000)
    """How many streams one user may have open in one process."""

    streams_per_address_max: int = Field(default=1_000, ge=1, le=1_000_000)
    """How many streams one address (of IPv6: one /64) may have open in one process; proxies do not count."""

    streams_max: int = Field(default=20_000, ge=1, le=1_000_000)
    """How many streams one process may have open in all; each costs about 12 KB and a descriptor."""

    commands_per_minute_max: int = Field(default=120, ge=1, le=60_000)
    """How many commands on jobs one user may give in a minute, in one process."""

    trusted_proxies: Networks = ("127.0.0.1", "::1")
    """The proxies whose X-Forwarded-For and X-Forwarded-Proto are believed: addresses or networks."""

    denied_subjects_file: Path | None = None
    """A file with users whose tokens are refused, one `sub` a line; read again when it changes."""

    drain_seconds: float = Field(default=5.0, ge=0, le=60)
    """Over how long the ends of streams are spread when the process stops; less where there are few."""

    pending_seconds_max: float = Field(default=86_400.0, ge=0, le=315_360_000)
    """How long a job may wait for a worker before it fails; 0 is for ever."""

    history_seconds: KeptSeconds = Field(default=0.0, ge=0, le=315_360_000)
    """How long finished jobs are kept before they are deleted; 0 is for ever, else at least 3600."""


def variable(field: str) -> str:
    """The environment's name of *field*."""
    return field.upper() if field == "database_url" else PREFIX + field.upper()
