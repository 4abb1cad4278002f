"""Every setting: its name, unit, default and limits, in one frozen object.

A flag wins over the environment, the environment over `.env`; an empty value counts as unset. `DATABASE_URL`
has no prefix because every host names it so; all else is `PROGRESS_` and the field's name in capitals. What
is unknown, out of range or contradictory stops the start with one line that names it and shows no secret.
"""

import difflib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

import jwt
from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from progress_service.core.shard import SHARDS_MAX

__all__ = ["Settings", "SettingsError"]

_PREFIX: Final = "PROGRESS_"
PORT_MAX: Final = 65_535
_SHOWN_CHARACTERS_MAX: Final = 60
# RFC 7518, section 3.2: a secret is at least as long as the hash, in bytes.
_SECRET_BYTES_MIN: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
_MAKE_ONE: Final = "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"


class SettingsError(Exception):
    """The service cannot start with these settings; the text is one line for whoever set them."""


def _listed(value: object) -> object:
    """The parts of a comma-separated text; a list stays what it is."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _must_be(right: str, pattern: str) -> AfterValidator:
    """Refuses a text, or a part of a list, that is not of *pattern*; *right* says in words what would do."""

    def checked(value: Any) -> Any:
        texts = value if isinstance(value, tuple) else [value]
        for text in texts:
            plain = text.get_secret_value() if isinstance(text, SecretStr) else text
            if plain is not None and re.fullmatch(pattern, plain) is None:
                raise ValueError(f"is {_shown(text)}; it must be {right}")
        return value

    return AfterValidator(checked)


_HOST: Final = r"([a-z0-9._-]+|\[[0-9a-f:]+\])"
_Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
_DatabaseUrl = Annotated[
    SecretStr | None, _must_be("postgresql://user:password@host:5432/database", r"postgres(ql)?://.+")
]
_WebAddress = Annotated[
    str | None,
    _must_be("an https:// address without a name or password in it", r"https?://[^@/?#\s]+(/[^@\s]*)?"),
]
_Algorithms = Annotated[
    _Names,
    _must_be(
        "HS256, RS256, PS256, ES256 or their longer kin, or EdDSA; never none",
        r"(HS|RS|PS|ES)(256|384|512)|EdDSA",
    ),
]
# Browsers send cookies to named origins only, so there is no *; and they leave out the usual port.
_Origins = Annotated[
    _Names,
    _must_be(
        "like https://app.example.com: lower case, no path, no usual port, and never * (cookies need a name)",
        rf"(?!http:.*:80$|https:.*:443$)https?://{_HOST}(:[0-9]{{1,5}})?",
    ),
]
_NATS: Final = r"(nats|tls)://[^\s,/?#]+"
_Feed = Annotated[
    str,
    _must_be(
        "one of auto, notify, wal, poll, or of a relay nats://host:4222 (auto unless set)",
        rf"auto|notify|wal|poll|{_NATS}(,{_NATS})*",
    ),
]
_NatsAddresses = Annotated[_Names, _must_be("nats://host:4222 or tls://host:4222", _NATS)]


def _shard(value: str) -> str:
    """Refuses what is not a number from 1 to the number of shards, and that number."""
    number, _, count = value.partition("/")
    # No other way of writing it, lest two relays of one shard look like two shards.
    is_written_well = all(re.fullmatch("[1-9][0-9]*", part) for part in (number, count))
    if not is_written_well or not int(number) <= int(count) <= SHARDS_MAX:
        right = f"like 3/8, the third of eight, and of at most {SHARDS_MAX}"
        raise ValueError(f"is {_shown(value)}; it must be {right}")
    return value


_Shard = Annotated[str, AfterValidator(_shard)]
_KEPT_SECONDS_MIN: Final = 3600


def _kept_seconds(value: float) -> float:
    """Refuses so short a time that a page could not show what has just ended."""
    if 0 < value < _KEPT_SECONDS_MIN:
        raise ValueError(f"is '{value:g}'; it must be 0, which is for ever, or at least {_KEPT_SECONDS_MIN}")
    return value


_KeptSeconds = Annotated[float, AfterValidator(_kept_seconds)]
_Hosts = Annotated[_Names, _must_be("like app.example.com or *.example.com", rf"(\*\.)?{_HOST}")]


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    """Refuses a part that is neither an address nor a network."""
    for text in value:
        try:
            ipaddress.ip_network(text)
        except ValueError:
            right = "addresses or networks, such as 10.0.0.7 or 10.0.0.0/8 (whose host bits are 0)"
            raise ValueError(f"has {_shown(text)}; it must be {right}") from None
    return value


_Networks = Annotated[_Names, AfterValidator(_networks)]


class Settings(BaseSettings):
    """The settings of one process; each is described where it stands.

    Args:
        flags: What was given on the command line, by field name; None is unset.

    Raises:
        SettingsError: A name is unknown, a value is out of range, or two settings contradict each other.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        dotenv_filtering="only_existing",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    database_url: _DatabaseUrl = Field(
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

    feed: _Feed = "auto"
    """How changes come: auto is notify if it works; wal is the log, poll a look a second, nats:// a relay."""

    nats: _NatsAddresses = ()
    """The NATS by which a relay tells its edges, nats://host:4222 or tls://host:4222; several with commas."""

    shard: _Shard = "1/1"
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

    jwks_url: _WebAddress = None
    """Where the public keys of access tokens are published (RS, PS, ES, EdDSA)."""

    jwt_algorithms: _Algorithms = ()
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

    allowed_origins: _Origins = ()
    """The other sites whose pages may read our answers, such as https://app.example.com."""

    allowed_hosts: _Hosts = ()
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

    trusted_proxies: _Networks = ("127.0.0.1", "::1")
    """The proxies whose X-Forwarded-For and X-Forwarded-Proto are believed: addresses or networks."""

    denied_subjects_file: Path | None = None
    """A file with users whose tokens are refused, one `sub` a line; read again when it changes."""

    drain_seconds: float = Field(default=5.0, ge=0, le=60)
    """Over how long the ends of streams are spread when the process stops; less where there are few."""

    pending_seconds_max: float = Field(default=86_400.0, ge=0, le=315_360_000)
    """How long a job may wait for a worker before it fails; 0 is for ever."""

    history_seconds: _KeptSeconds = Field(default=0.0, ge=0, le=315_360_000)
    """How long finished jobs are kept before they are deleted; 0 is for ever, else at least 3600."""

    _process_key: bytes = PrivateAttr(default_factory=lambda: secrets.token_bytes(32))

    def __init__(self, **flags: Any) -> None:
        if unknown := [name for name in flags if name not in type(self).model_fields and name != "_env_file"]:
            raise TypeError(f"there is no setting {unknown[0]!r}")
        given = {name: value for name, value in flags.items() if value is not None}
        try:
            super().__init__(**given)
        except ValidationError as error:
            # The original error holds the values, and some of them are secret.
            raise SettingsError(_sentence(error, given.keys())) from None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f".env cannot be read: it must be a text file in UTF-8 ({error})") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 -- The signature is the library's.
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources, the strongest first; each is looked through for names that nobody reads."""
        for source, place in ((env_settings, "the environment"), (dotenv_settings, ".env")):
            if isinstance(source, EnvSettingsSource):
                _refuse_unknown((name.upper() for name in source.env_vars), place)
        return init_settings, env_settings, dotenv_settings

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if conflict := _conflict(self):
            raise ValueError(conflict)
        return self

    @property
    def feed_servers(self) -> tuple[str, ...]:
        """The NATS that the feed is to come from; none where it comes from the database."""
        return tuple(self.feed.split(",")) if "://" in self.feed else ()

    def require_nats(self) -> tuple[str, ...]:
        """The NATS servers of a relay.

        Raises:
            SettingsError: There is none.
        """
        if not self.nats:
            raise SettingsError(
                "PROGRESS_NATS is not set: it names the NATS server by which the relay tells its edges, such "
                "as nats://nats.internal:4222 (or --nats)"
            )
        if self.feed_servers:
            raise SettingsError(
                "PROGRESS_FEED names NATS, from which an edge hears; a relay follows the database: auto, "
                "notify, wal or poll"
            )
        return self.nats

    def require_relays(self) -> None:
        """Make sure that a process which is to hear several relays hears relays.

        Raises:
            SettingsError: It follows the database, which knows no shards.
        """
        if self.shards > 1 and not self.feed_servers:
            raise SettingsError(
                f"PROGRESS_SHARDS is {self.shards}, and PROGRESS_FEED is {self.feed!r}: only an edge, whose "
                "feed is nats://…, hears relays of shards"
            )

    @property
    def worker_feed(self) -> dict[str, str]:
        """What the environment of each worker has to say of the feed, as a flag may have set it."""
        return {"PROGRESS_FEED": self.feed, "PROGRESS_SHARDS": str(self.shards)}

    @property
    def accepted_algorithms(self) -> tuple[str, ...]:
        """The algorithms of access tokens: those that are set, or the usual ones for the keys there are."""
        by_secret = ("HS256",) if self.jwt_secret is not None else ()
        by_key = ("RS256", "ES256") if self.jwks_url is not None else ()
        return self.jwt_algorithms or by_secret + by_key

    @property
    def jwt_key(self) -> bytes | None:
        """The JWT secret as the key that it is."""
        return None if self.jwt_secret is None else _plain(self.jwt_secret)

    @property
    def signing_key(self) -> bytes:
        """The key for our own sessions and tickets; without a secret to share it is this process's alone."""
        shared = self.signing_secret or self.jwt_secret
        if shared is None:
            return self._process_key
        return hmac.digest(_plain(shared), b"progress-service signing v1", "sha256")

    def shared_secrets(self) -> dict[str, str]:
        """The environment without which the processes of one machine would not take each other's tickets."""
        if self.signing_secret is None and self.jwt_secret is None:
            return {"PROGRESS_SIGNING_SECRET": secrets.token_urlsafe(48)}
        return {}

    def worker_settings(self, number: int) -> dict[str, str]:
        """What the environment of the worker of that number, from 0 on, has beside what is set for all.

        Raises:
            SettingsError: There is no port for its metrics.
        """
        if not self.metrics_port:
            # None listens, or each finds a free port by itself.
            return {}
        port = self.metrics_port + number
        if port > PORT_MAX:
            raise SettingsError(
                f"PROGRESS_METRICS_PORT is {self.metrics_port}, and each worker takes one more; "
                f"that of worker {number + 1} would be above {PORT_MAX}"
            )
        return {"PROGRESS_METRICS_PORT": str(port)}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the operator should know though the service can start."""
        found = []
        if self.signing_secret is None and self.jwt_secret is None:
            found.append(
                "PROGRESS_SIGNING_SECRET is not set: sessions and tickets end with this process, and no "
                f"other takes them. Where several processes serve, it must be set; {_MAKE_ONE}"
            )
        if self.jwks_url is not None and self.jwks_url.startswith("http:"):
            found.append("PROGRESS_JWKS_URL is plain http: whoever is on the way can replace the keys.")
        return tuple(found)

    def require_database_url(self) -> str:
        """The PostgreSQL to use.

        Raises:
            SettingsError: There is none; the text says how to get one.
        """
        if self.database_url is None:
            raise SettingsError(
                "DATABASE_URL is not set: it names the PostgreSQL that has the jobs, such as "
                "postgresql://user:password@localhost:5432/app. To look around first: progress-service demo"
            )
        return self.database_url.get_secret_value()

    def require_access(self) -> None:
        """Make sure that someone can be let in.

        Raises:
            SettingsError: There is neither a secret nor a JWKS URL to verify access tokens with.
        """
        if self.jwt_secret is None and self.jwks_url is None:
            raise SettingsError(
                "PROGRESS_JWT_SECRET or PROGRESS_JWKS_URL must be set: the secret or the public keys to "
                f"verify your users' access tokens with. For a new secret, {_MAKE_ONE}"
            )


def _conflict(settings: Settings) -> str | None:
    """What is wrong about several settings together, if anything."""
    if settings.nats_tls_key is not None and settings.nats_tls_cert is None:
        return "PROGRESS_NATS_TLS_KEY is set, and PROGRESS_NATS_TLS_CERT is not: a key needs its certificate"
    by_secret = [each for each in settings.accepted_algorithms if each in _SECRET_BYTES_MIN]
    by_key = [each for each in settings.accepted_algorithms if each not in _SECRET_BYTES_MIN]
    for name, secret, uses in (
        ("PROGRESS_JWT_SECRET", settings.jwt_secret, by_secret),
        ("PROGRESS_SIGNING_SECRET", settings.signing_secret, ["HS256"]),
    ):
        if secret is not None and (fault := _fault(_plain(secret), uses)):
            return f"{name} {fault}"
    pairs = (
        ("PROGRESS_JWT_SECRET", settings.jwt_secret, by_secret),
        ("PROGRESS_JWKS_URL", settings.jwks_url, by_key),
    )
    for name, value, fitting in pairs:
        if value is None and fitting:
            return f"PROGRESS_JWT_ALGORITHMS has {fitting[0]}, which needs {name} to be set"
    for name, value, fitting in pairs:
        if value is not None and not fitting:
            return f"PROGRESS_JWT_ALGORITHMS has none that uses {name}; add one, or unset {name}"
    return None


def _plain(secret: SecretStr) -> bytes:
    """The bytes of *secret* as they stood in the environment, text or not."""
    return secret.get_secret_value().encode(errors="surrogateescape")


def _fault(secret: bytes, algorithms: Iterable[str]) -> str | None:
    """What makes *secret* unfit for HMAC, if anything."""
    for algorithm in algorithms:
        least = _SECRET_BYTES_MIN[algorithm]
        if len(secret) < least:
            return f"has {len(secret)} bytes; {algorithm} needs at least {least} (RFC 7518); {_MAKE_ONE}"
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except jwt.InvalidKeyError:
        return f"is a public key or certificate, which is no secret; set PROGRESS_JWKS_URL, or {_MAKE_ONE}"
    return None


def _refuse_unknown(names: Iterable[str], place: str) -> None:
    known = {field.upper(): _variable(field) for field in Settings.model_fields}
    for name in names:
        if name.startswith(_PREFIX) and name not in known.values():
            near = difflib.get_close_matches(name.removeprefix(_PREFIX), known, n=1, cutoff=0.5)
            hint = f"did you mean {known[near[0]]}?" if near else "remove it, or correct its name"
            raise SettingsError(f"{name} in {place} is not a setting; {hint}")


def _variable(field: str) -> str:
    """The environment's name of *field*."""
    return field.upper() if field == "database_url" else _PREFIX + field.upper()


def _sentence(error: ValidationError, flags: Collection[str]) -> str:
    """The first fault of *error* as one line: the name, what is wrong, what would be right."""
    fault = error.errors(include_url=False)[0]
    own_reason = fault.get("ctx", {}).get("error")
    if not fault["loc"]:
        return str(own_reason)
    field = str(fault["loc"][0]).lower()
    name = "--" + field.replace("_", "-") if field in flags else _variable(field)
    if own_reason is not None:
        return f"{name} {own_reason}"
    return f"{name} is {_shown(fault['input'])}; it must be {_right(Settings.model_fields[field])}"


def _right(field: FieldInfo) -> str:
    """Which values *field* takes, and which it has unless set."""
    choices = get_args(field.annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        form = f"one of {', '.join(choices)}"
    elif field.annotation is bool:
        form = "true or false"
    else:
        lowest = next(limit.ge for limit in field.metadata if hasattr(limit, "ge"))
        highest = next(limit.le for limit in field.metadata if hasattr(limit, "le"))
        form = f"a {'whole ' * (field.annotation in (int, int | None))}number from {lowest} to {highest}"
    return f"{form} ({str(field.default).lower()} unless set)"


def _shown(value: object) -> str:
    """*value* in quotes and cut short; what has or may have a password is only hinted at."""
    text = str(value)
    if isinstance(value, SecretStr) or "@" in text:
        return "of another form"
    return repr(text if len(text) <= _SHOWN_CHARACTERS_MAX else text[:_SHOWN_CHARACTERS_MAX] + "…")
