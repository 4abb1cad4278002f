"""The settings of one process: where each comes from, whether they fit together, and what follows from them.

A flag wins over the environment, the environment over `.env`; an empty value counts as unset. What is
unknown, out of range or contradictory stops the start with one line that names it and shows no secret.
"""

import hmac
import secrets
from typing import Any, Self

from pydantic import PrivateAttr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from progress_service.settings.fields import PORT_MAX, Fields
from progress_service.settings.keys import MAKE_ONE, conflict, key_of
from progress_service.settings.refusals import SettingsError, refuse_unknown, sentence


class Settings(Fields):
    """Every setting, checked.

    Args:
        flags: What was given on the command line, by field name; None is unset.

    Raises:
        SettingsError: A name is unknown, a value is out of range, or two settings contradict each other.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        dotenv_filtering="only_existing",
        extra="ignore",
        hide_input_in_errors=True,
    )

    _process_key: bytes = PrivateAttr(default_factory=lambda: secrets.token_bytes(32))

    def __init__(self, **flags: Any) -> None:
        if unknown := [name for name in flags if name not in type(self).model_fields and name != "_env_file"]:
            raise TypeError(f"there is no setting {unknown[0]!r}")
        given = {name: value for name, value in flags.items() if value is not None}
        try:
            super().__init__(**given)
        except ValidationError as error:
            # The original error holds the values, and some of them are secret.
            raise SettingsError(sentence(error, given.keys())) from None
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
                refuse_unknown((name.upper() for name in source.env_vars), place)
        return init_settings, env_settings, dotenv_settings

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.nats_tls_key is not None and self.nats_tls_cert is None:
            raise ValueError(
                "PROGRESS_NATS_TLS_KEY is set, and PROGRESS_NATS_TLS_CERT is not: a key needs its certificate"
            )
        if reason := conflict(
            self.accepted_algorithms,
            jwt_secret=self.jwt_key,
            jwks_url=self.jwks_url,
            signing_secret=key_of(self.signing_secret),
        ):
            raise ValueError(reason)
        return self

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
                f"verify your users' access tokens with. For a new secret, {MAKE_ONE}"
            )

    def require_nats(self) -> tuple[str, ...]:
        """The NATS servers of a relay.

        Raises:
            SettingsError: There is none, or the feed is one of NATS.
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
    def warnings(self) -> tuple[str, ...]:
        """What the operator should know though the service can start."""
        found = []
        if self.signing_secret is None and self.jwt_secret is None:
            found.append(
                "PROGRESS_SIGNING_SECRET is not set: sessions and tickets end with this process, and no "
                f"other takes them. Where several processes serve, it must be set; {MAKE_ONE}"
            )
        if self.jwks_url is not None and self.jwks_url.startswith("http:"):
            found.append("PROGRESS_JWKS_URL is plain http: whoever is on the way can replace the keys.")
        return tuple(found)

    @property
    def feed_servers(self) -> tuple[str, ...]:
        """The NATS that the feed is to come from; none where it comes from the database."""
        return tuple(self.feed.split(",")) if "://" in self.feed else ()

    @property
    def accepted_algorithms(self) -> tuple[str, ...]:
        """The algorithms of access tokens: those that are set, or the usual ones for the keys there are."""
        by_secret = ("HS256",) if self.jwt_secret is not None else ()
        by_key = ("RS256", "ES256") if self.jwks_url is not None else ()
        return self.jwt_algorithms or by_secret + by_key

    @property
    def jwt_key(self) -> bytes | None:
        """The JWT secret as the key that it is."""
        return key_of(self.jwt_secret)

    @property
    def signing_key(self) -> bytes:
        """The key for our own sessions and tickets; without a secret to share it is this process's alone."""
        shared = key_of(self.signing_secret or self.jwt_secret)
        if shared is None:
            return self._process_key
        return hmac.digest(shared, b"progress-service signing v1", "sha256")

    def worker_environments(self, count: int) -> list[dict[str, str]]:
        """What the environment of each of *count* workers of one machine has beside what is set for all.

        The feed, as a flag may have set it; a secret, without which they would not take each other's tickets;
        and for each a port of its own for its metrics.

        Raises:
            SettingsError: There are not as many ports.
        """
        shared = {"PROGRESS_FEED": self.feed, "PROGRESS_SHARDS": str(self.shards)}
        if self.signing_secret is None and self.jwt_secret is None:
            shared["PROGRESS_SIGNING_SECRET"] = secrets.token_urlsafe(48)
        if not self.metrics_port:
            # None listens, or each finds a free port by itself.
            return [shared] * count
        ports = range(self.metrics_port, self.metrics_port + count)
        if ports[-1] > PORT_MAX:
            raise SettingsError(
                f"PROGRESS_METRICS_PORT is {self.metrics_port}, and each worker takes one more; "
                f"that of worker {ports.index(PORT_MAX) + 2} would be above {PORT_MAX}"
            )
        return [shared | {"PROGRESS_METRICS_PORT": str(port)} for port in ports]
