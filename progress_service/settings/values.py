"""The types of settings that a text has to be fit for: what a type takes, and what it says of all else.

A check says what is wrong and what would be right; whoever tells it puts the setting's name before that.
"""

import ipaddress
import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from progress_service.core.shard import SHARDS_MAX

SHOWN_CHARACTERS_MAX: Final = 60
KEPT_SECONDS_MIN: Final = 3600

_HOST: Final = r"([a-z0-9._-]+|\[[0-9a-f:]+\])"
_NATS: Final = r"(nats|tls)://[^\s,/?#]+"


def shown(value: object) -> str:
    """*value* in quotes and cut short; what has or may have a password is only hinted at."""
    text = str(value)
    if isinstance(value, SecretStr) or "@" in text:
        return "of another form"
    return repr(text if len(text) <= SHOWN_CHARACTERS_MAX else text[:SHOWN_CHARACTERS_MAX] + "…")


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
                raise ValueError(f"is {shown(text)}; it must be {right}")
        return value

    return AfterValidator(checked)


def _shard(value: str) -> str:
    """Refuses what is not a number from 1 to the number of shards, and that number."""
    number, _, count = value.partition("/")
    # No other way of writing it, lest two relays of one shard look like two shards.
    is_written_well = all(re.fullmatch("[1-9][0-9]*", part) for part in (number, count))
    if not is_written_well or not int(number) <= int(count) <= SHARDS_MAX:
        right = f"like 3/8, the third of eight, and of at most {SHARDS_MAX}"
        raise ValueError(f"is {shown(value)}; it must be {right}")
    return value


def _kept_seconds(value: float) -> float:
    """Refuses so short a time that a page could not show what has just ended."""
    if 0 < value < KEPT_SECONDS_MIN:
        raise ValueError(f"is '{value:g}'; it must be 0, which is for ever, or at least {KEPT_SECONDS_MIN}")
    return value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    """Refuses a part that is neither an address nor a network."""
    for text in value:
        try:
            ipaddress.ip_network(text)
        except ValueError:
            right = "addresses or networks, such as 10.0.0.7 or 10.0.0.0/8 (whose host bits are 0)"
            raise ValueError(f"has {shown(text)}; it must be {right}") from None
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
DatabaseUrl = Annotated[
    SecretStr | None, _must_be("postgresql://user:password@host:5432/database", r"postgres(ql)?://.+")
]
WebAddress = Annotated[
    str | None,
    _must_be("an https:// address without a name or password in it", r"https?://[^@/?#\s]+(/[^@\s]*)?"),
]
Algorithms = Annotated[
    Names,
    _must_be(
        "HS256, RS256, PS256, ES256 or their longer kin, or EdDSA; never none",
        r"(HS|RS|PS|ES)(256|384|512)|EdDSA",
    ),
]
# Browsers send cookies to named origins only, so there is no *; and they leave out the usual port.
Origins = Annotated[
    Names,
    _must_be(
        "like https://app.example.com: lower case, no path, no usual port, and never * (cookies need a name)",
        rf"(?!http:.*:80$|https:.*:443$)https?://{_HOST}(:[0-9]{{1,5}})?",
    ),
]
Hosts = Annotated[Names, _must_be("like app.example.com or *.example.com", rf"(\*\.)?{_HOST}")]
Networks = Annotated[Names, AfterValidator(_networks)]
Feed = Annotated[
    str,
    _must_be(
        "one of auto, notify, wal, poll, or of a relay nats://host:4222 (auto unless set)",
        rf"auto|notify|wal|poll|{_NATS}(,{_NATS})*",
    ),
]
NatsAddresses = Annotated[Names, _must_be("nats://host:4222 or tls://host:4222", _NATS)]
ShardText = Annotated[str, AfterValidator(_shard)]
KeptSeconds = Annotated[float, AfterValidator(_kept_seconds)]
