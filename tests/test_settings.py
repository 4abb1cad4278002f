"""The settings: who wins, what is refused, and that a refusal names the setting and keeps secrets."""

import os
from pathlib import Path
from typing import Any

import pytest

from progress_service.policies import access_policy
from progress_service.settings import Settings, SettingsError

SECRET = "a secret that is long enough for HS256"
JWKS_URL = "https://login.example.com/keys"


@pytest.fixture(autouse=True)
def _clean_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test may depend on the settings of whoever runs it."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PROGRESS_") or name == "DATABASE_URL"]:
        monkeypatch.delenv(name)


def refusal(**flags: Any) -> str:
    """The text with which the settings are refused."""
    with pytest.raises(SettingsError) as caught:
        Settings(**flags)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_the_defaults_are_the_documented_ones() -> None:
    """Others rely on these figures; a changed one must be noticed."""
    settings = Settings()
    assert settings.database_url is None
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.feed == "auto"
    assert (settings.linger_seconds, settings.flush_seconds, settings.heartbeat_seconds) == (5.0, 0.1, 15.0)
    assert (settings.streams_per_user_max, settings.ticket_seconds) == (20, 30.0)
    assert (settings.streams_per_address_max, settings.streams_max) == (1_000, 20_000)
    assert (settings.commands_per_minute_max, settings.drain_seconds) == (120, 5.0)
    assert settings.trusted_proxies == ("127.0.0.1", "::1")
    assert settings.denied_subjects_file is None
    assert settings.cookie_samesite == "lax"
    assert (settings.pending_seconds_max, settings.history_seconds) == (86_400.0, 0.0)


@pytest.mark.parametrize("seconds", ["0", "3600", "7776000"])
def test_the_history_may_be_kept_for_ever_or_for_some_time(
    monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    """Both ends of what an operator may want."""
    monkeypatch.setenv("PROGRESS_HISTORY_SECONDS", seconds)
    assert Settings().history_seconds == float(seconds)


@pytest.mark.parametrize("seconds", ["1", "3599.9", "0.5"])
def test_a_history_of_a_moment_is_refused(monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    """Who means days and writes 30 would lose everything within a minute."""
    monkeypatch.setenv("PROGRESS_HISTORY_SECONDS", seconds)
    text = refusal()
    assert text.startswith(f"PROGRESS_HISTORY_SECONDS is '{seconds}'; it must be 0")
    assert "at least 3600" in text


def test_a_flag_wins_over_the_environment_and_that_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator's last word on the command line must count."""
    Path(".env").write_text("PROGRESS_PORT=1\nPROGRESS_LINGER_SECONDS=1\nPROGRESS_FLUSH_SECONDS=1\n")
    monkeypatch.setenv("PROGRESS_PORT", "2")
    monkeypatch.setenv("PROGRESS_LINGER_SECONDS", "2")
    settings = Settings(port=3, linger_seconds=None)
    assert (settings.port, settings.linger_seconds, settings.flush_seconds) == (3, 2.0, 1.0)


def test_the_database_url_has_no_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every host names it DATABASE_URL."""
    url = "postgresql://ada:pass@db.example.com/app"
    monkeypatch.setenv("DATABASE_URL", url)
    assert Settings().require_database_url() == url
    assert Settings(database_url=url + "2").require_database_url() == url + "2"


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment variable has no other way to hold a list."""
    monkeypatch.setenv("PROGRESS_ALLOWED_ORIGINS", "https://a.example, http://localhost:3000,")
    monkeypatch.setenv("PROGRESS_ALLOWED_HOSTS", "a.example,*.b.example")
    settings = Settings(jwks_url=JWKS_URL, jwt_algorithms=["RS256", "EdDSA"])
    assert settings.allowed_origins == ("https://a.example", "http://localhost:3000")
    assert settings.allowed_hosts == ("a.example", "*.b.example")
    assert settings.accepted_algorithms == ("RS256", "EdDSA")


def test_an_edge_and_a_relay_name_their_nats_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of NATS servers has several addresses, and any of them may be down."""
    assert Settings(feed="wal").feed_servers == ()
    assert Settings(feed="nats://a:4222,tls://b").feed_servers == ("nats://a:4222", "tls://b")
    monkeypatch.setenv("PROGRESS_NATS", "nats://a:4222, tls://user:pass@b")
    assert Settings().require_nats() == ("nats://a:4222", "tls://user:pass@b")


def test_a_relay_without_nats_and_one_that_hears_a_relay_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both would run, and tell nobody anything."""
    with pytest.raises(SettingsError, match="PROGRESS_NATS is not set"):
        Settings().require_nats()
    monkeypatch.setenv("PROGRESS_NATS", "nats://a")
    with pytest.raises(SettingsError, match="a relay follows the database"):
        Settings(feed="nats://a").require_nats()


def test_a_password_for_nats_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused goes into logs."""
    monkeypatch.setenv("PROGRESS_NATS", "nats://relay:s3cret@nats.internal:4222/x")
    assert "s3cret" not in refusal()


def test_an_empty_value_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files pass on variables that nobody has set."""
    monkeypatch.setenv("PROGRESS_LINGER_SECONDS", "")
    monkeypatch.setenv("PROGRESS_JWT_SECRET", "")
    assert Settings().linger_seconds == 5.0
    assert Settings().jwt_secret is None


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("PROGRESS_LINGER_SECONDS", "-1", "'-1'; it must be a number from 0 to 3600 (5.0 unless set)"),
        ("PROGRESS_LINGER_SECONDS", "5s", "'5s'; it must be a number from 0"),
        ("PROGRESS_FLUSH_SECONDS", "0", "a number from 0.01 to 10"),
        ("PROGRESS_HEARTBEAT_SECONDS", "nan", "a number from 0.1 to 300"),
        ("PROGRESS_TICKET_SECONDS", "inf", "a number from 1 to 300"),
        ("PROGRESS_PENDING_SECONDS_MAX", "-1", "a number from 0 to 315360000"),
        ("PROGRESS_PENDING_SECONDS_MAX", "nan", "a number from 0 to 315360000"),
        ("PROGRESS_HISTORY_SECONDS", "-1", "a number from 0 to 315360000"),
        ("PROGRESS_HISTORY_SECONDS", "nan", "a number from 0 to 315360000"),
        ("PROGRESS_HISTORY_SECONDS", "for ever", "a number from 0 to 315360000"),
        ("PROGRESS_PORT", "80.5", "a whole number from 0 to 65535"),
        ("PROGRESS_STREAMS_PER_USER_MAX", "0", "a whole number from 1 to 10000"),
        ("PROGRESS_STREAMS_PER_ADDRESS_MAX", "0", "a whole number from 1 to 1000000"),
        ("PROGRESS_STREAMS_MAX", "many", "a whole number from 1 to 1000000"),
        ("PROGRESS_COMMANDS_PER_MINUTE_MAX", "0", "a whole number from 1 to 60000"),
        ("PROGRESS_DRAIN_SECONDS", "61", "a number from 0 to 60"),
        ("PROGRESS_TRUSTED_PROXIES", "10.0.0.1/8", "such as 10.0.0.7 or 10.0.0.0/8"),
        ("PROGRESS_TRUSTED_PROXIES", "127.0.0.1,*", "has '*'; it must be addresses or networks"),
        ("PROGRESS_COOKIE_SAMESITE", "off", "one of lax, strict, none (lax unless set)"),
        ("PROGRESS_COOKIE_SECURE", "perhaps", "true or false (false unless set)"),
        (
            "PROGRESS_FEED",
            "nofity",
            "'nofity'; it must be one of auto, notify, wal, poll, or of a relay nats:",
        ),
        ("PROGRESS_FEED", "nats://", "must be one of auto, notify"),
        ("PROGRESS_FEED", "auto,nats://a", "must be one of auto, notify"),
        ("PROGRESS_NATS", "nats.internal:4222", "it must be nats://host:4222 or tls://host:4222"),
        ("PROGRESS_NATS", "nats://a:4222/", "it must be nats://host:4222"),
        ("PROGRESS_NATS_TLS_KEY", "key.pem", "a key needs its certificate"),
        ("PROGRESS_ALLOWED_ORIGINS", "*", "never *"),
        ("PROGRESS_ALLOWED_ORIGINS", "null", "like https://app.example.com"),
        ("PROGRESS_ALLOWED_ORIGINS", "https://a.example,https://b.example/", "'https://b.example/'"),
        ("PROGRESS_ALLOWED_ORIGINS", "https://b.example:443", "no usual port"),
        ("PROGRESS_ALLOWED_ORIGINS", "HTTPS://b.example", "lower case"),
        ("PROGRESS_ALLOWED_HOSTS", "https://a.example", "like app.example.com"),
        ("PROGRESS_JWT_ALGORITHMS", "none", "never none"),
        ("PROGRESS_JWT_ALGORITHMS", "hs256", "'hs256'; it must be HS256"),
        ("PROGRESS_JWKS_URL", "file:///etc/keys", "must be an https:// address"),
        ("PROGRESS_JWT_SECRET", "short", "has 5 bytes; HS256 needs at least 32 (RFC 7518)"),
        ("PROGRESS_SIGNING_SECRET", "short", "has 5 bytes; HS256 needs at least 32"),
        ("DATABASE_URL", "mysql://db.example.com/app", "must be postgresql://"),
    ],
)
def test_a_bad_value_is_named_with_what_would_be_right(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    """The line must be enough to mend the setting, without looking anything up."""
    monkeypatch.setenv(name, value)
    text = refusal()
    assert text.startswith(name)
    assert reason in text


def test_a_bad_flag_is_named_as_it_was_typed() -> None:
    """Whoever typed --port has never heard of PROGRESS_PORT."""
    assert refusal(port=70_000).startswith("--port is '70000'; it must be a whole number from 0 to 65535")
    assert refusal(streams_per_user_max=0).startswith("--streams-per-user-max")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("PROGRESS_LINGR_SECONDS", "did you mean PROGRESS_LINGER_SECONDS?"),
        ("PROGRESS_LINGER", "did you mean PROGRESS_LINGER_SECONDS?"),
        ("PROGRESS_JWT_ALGORITHM", "did you mean PROGRESS_JWT_ALGORITHMS?"),
        ("PROGRESS_DATABASE_URL", "did you mean DATABASE_URL?"),
        ("PROGRESS_XYZ", "remove it"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    """A misspelt limit that is silently ignored is found in production."""
    monkeypatch.setenv(name, "1")
    text = refusal()
    assert text.startswith(f"{name} in the environment is not a setting")
    assert hint in text


def test_an_unknown_name_in_the_file_is_refused_and_foreign_ones_are_not() -> None:
    """A .env is shared with other programs, whose names are none of our business."""
    Path(".env").write_text("PORT=7\nHOST=other\nOTHER_THING=1\n")
    assert Settings().host == "127.0.0.1"
    Path(".env").write_text("PROGRESS_POTR=7\n")
    assert refusal().startswith("PROGRESS_POTR in .env is not a setting; did you mean PROGRESS_PORT?")


def test_a_file_that_is_not_text_is_refused_in_one_line() -> None:
    """A traceback from a decoder tells an operator nothing."""
    Path(".env").write_bytes(b"\xff\xfe\x00")
    assert refusal().startswith(".env cannot be read")


def test_an_unknown_flag_is_a_mistake_in_the_program() -> None:
    """A caller's typing error must not become a default in silence."""
    with pytest.raises(TypeError, match="prot"):
        Settings(prot=1)


def test_settings_are_frozen() -> None:
    """What was checked at the start stays as it was checked."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1


SECRETS = [
    ("DATABASE_URL", "mysql://ada:opensesame@db.example.com/app"),
    ("PROGRESS_JWT_SECRET", "opensesame"),
    ("PROGRESS_SIGNING_SECRET", "opensesame"),
    ("PROGRESS_JWKS_URL", "https://ada:opensesame@login.example.com/keys"),
]


@pytest.mark.parametrize(("name", "value"), SECRETS)
def test_a_refusal_never_shows_a_secret(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The line ends up in logs and tickets."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert "opensesame" not in str(caught.value)
    # A traceback would print these as well.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_settings_object_shows_no_secret_when_printed() -> None:
    """Someone will log the settings at the start."""
    settings = Settings(
        database_url="postgresql://ada:opensesame@db.example.com/app",
        jwt_secret="opensesame" * 5,
        signing_secret="opensesame" * 6,
    )
    assert "opensesame" not in f"{settings!r} {settings}"


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"jwt_secret": SECRET, "jwt_algorithms": "HS512"}, "needs at least 64"),
        ({"jwt_secret": SECRET, "jwt_algorithms": "RS256"}, "RS256, which needs PROGRESS_JWKS_URL"),
        ({"jwks_url": JWKS_URL, "jwt_algorithms": "HS256"}, "HS256, which needs PROGRESS_JWT_SECRET"),
        ({"jwt_secret": SECRET, "jwks_url": JWKS_URL, "jwt_algorithms": "HS256"}, "uses PROGRESS_JWKS_URL"),
        ({"jwt_secret": SECRET, "jwks_url": JWKS_URL, "jwt_algorithms": "RS256"}, "uses PROGRESS_JWT_SECRET"),
        (
            {"jwt_secret": "-----BEGIN PUBLIC KEY-----\n" + "A" * 64 + "\n-----END PUBLIC KEY-----"},
            "is a public key or certificate, which is no secret; set PROGRESS_JWKS_URL",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags: dict[str, Any], reason: str) -> None:
    """A public key taken for a secret, or an algorithm without a key, lets in anyone or no one."""
    assert reason in refusal(**flags)


@pytest.mark.parametrize(
    ("flags", "algorithms"),
    [
        ({"jwt_secret": SECRET}, ("HS256",)),
        ({"jwks_url": JWKS_URL}, ("RS256", "ES256")),
        ({"jwt_secret": SECRET, "jwks_url": JWKS_URL}, ("HS256", "RS256", "ES256")),
        ({"jwt_secret": SECRET * 2, "jwt_algorithms": ["HS512"]}, ("HS512",)),
        ({}, ()),
    ],
)
def test_algorithms_follow_from_the_keys_unless_set(
    flags: dict[str, Any], algorithms: tuple[str, ...]
) -> None:
    """A newcomer sets one secret and nothing else."""
    assert Settings(**flags).accepted_algorithms == algorithms


def test_serving_needs_a_database_and_a_key() -> None:
    """Without them the service would start and refuse everyone, which is harder to understand."""
    with pytest.raises(SettingsError, match=r"DATABASE_URL is not set.*progress-service demo"):
        Settings().require_database_url()
    with pytest.raises(SettingsError, match=r"PROGRESS_JWT_SECRET or PROGRESS_JWKS_URL must be set"):
        Settings().require_access()
    Settings(jwt_secret=SECRET).require_access()
    Settings(jwks_url=JWKS_URL).require_access()


def test_the_signing_key_is_shared_where_it_can_be() -> None:
    """A ticket from one process must open a stream on another; and it is never the JWT secret itself."""
    by_jwt_secret = Settings(jwt_secret=SECRET)
    assert by_jwt_secret.signing_key == Settings(jwt_secret=SECRET).signing_key != by_jwt_secret.jwt_key
    assert Settings(jwt_secret=SECRET, signing_secret=SECRET[::-1]).signing_key != by_jwt_secret.signing_key
    alone = Settings(jwks_url=JWKS_URL)
    assert alone.signing_key == alone.signing_key != Settings(jwks_url=JWKS_URL).signing_key


def test_the_operator_is_warned_of_what_works_only_alone_or_unsafely() -> None:
    """The second process is added months later; the start of the first one has to say it."""
    assert Settings(jwt_secret=SECRET).warnings == ()
    assert Settings(jwks_url=JWKS_URL, signing_secret=SECRET).warnings == ()
    assert "Where several processes serve, it must be set" in Settings(jwks_url=JWKS_URL).warnings[0]
    plain = Settings(jwks_url="http://login.example.com/keys", signing_secret=SECRET)
    assert "plain http" in plain.warnings[0]


def test_a_secret_may_be_any_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that is not UTF-8 text is still the secret that tokens are signed with."""
    monkeypatch.setenv("PROGRESS_JWT_SECRET", os.fsdecode(b"\xff\xfe" * 20))
    settings = Settings()
    assert settings.jwt_key == access_policy(settings).secret == b"\xff\xfe" * 20
