"""The line to NATS: who is let in, and that its end is noticed, however it comes."""

import signal
import ssl
from pathlib import Path

import anyio
import pytest

from progress_service.cluster.line import (
    Line,
    LineError,
    LineRefused,
    Message,
    NoAnswer,
    Servers,
    connected,
    tls_context,
)
from tests.certificates import self_signed
from tests.cluster import Nats, free_port, nats_server
from tests.nats_operator import Operator
from tests.running import WAIT_SECONDS_MAX

pytestmark = pytest.mark.anyio

SILENCE_NOTICED_SECONDS_MAX = 5.0


async def end_of(line: Line) -> str:
    """Why the line is over, once it is."""
    with anyio.fail_after(SILENCE_NOTICED_SECONDS_MAX), pytest.raises(LineError) as caught:
        await line.until_over()
    return str(caught.value)


async def echoed(address: str, servers: Servers | None = None) -> bytes:
    """What comes back of a message to ourselves."""
    heard: list[Message] = []
    has_come = anyio.Event()

    def take(message: Message) -> None:
        heard.append(message)
        has_come.set()

    async with connected(servers or Servers((address,)), "a test") as line:
        await line.subscribe("progress.test", take)
        await line.publish("progress.test", b"hello")
        with anyio.fail_after(WAIT_SECONDS_MAX):
            await has_come.wait()
    return heard[0].data


async def test_nobody_there_is_said_so() -> None:
    """The first thing that an operator gets wrong is the address."""
    with pytest.raises(LineError, match=r"[Cc]onnect"):
        await echoed(f"nats://127.0.0.1:{free_port()}")


async def test_the_first_server_of_several_that_is_there_is_taken() -> None:
    """A cluster of NATS servers is named by all of them, and one may be down."""
    async with nats_server() as nats:
        servers = Servers((f"nats://127.0.0.1:{free_port()}", nats.address))
        assert await echoed("", servers) == b"hello"


async def test_a_password_in_the_address_lets_in_and_a_wrong_one_is_named_as_such() -> None:
    """Without the word 'authorization' in the log, people look for the fault in the network."""
    async with nats_server(["--user", "relay", "--pass", "s3cret"]) as nats:
        assert await echoed(nats.address.replace("://", "://relay:s3cret@")) == b"hello"
        said = ""
        with anyio.fail_after(WAIT_SECONDS_MAX):
            # The server hangs up right after its word, which may then be lost; a line is tried again.
            while "authorization" not in said.lower():
                with pytest.raises(LineError) as caught:
                    await echoed(nats.address.replace("://", "://relay:wrong@"))
                said = str(caught.value)


async def test_a_credentials_file_lets_in_and_that_of_another_operator_does_not(tmp_path: Path) -> None:
    """A hosted NATS knows no passwords, but tokens that its operator has signed."""
    operator = Operator(tmp_path)
    (tmp_path / "other").mkdir()
    async with nats_server(operator.server_options()) as nats:
        ours, theirs = operator.credentials("relay"), Operator(tmp_path / "other").credentials("relay")
        assert await echoed("", Servers((nats.address,), credentials=ours)) == b"hello"
        said = ""
        with anyio.fail_after(WAIT_SECONDS_MAX):
            # As with passwords, the word may be lost when the server hangs up.
            while "authorization" not in said.lower():
                with pytest.raises(LineError) as caught:
                    await echoed("", Servers((nats.address,), credentials=theirs))
                said = str(caught.value)


async def test_a_server_that_is_killed_or_frozen_ends_the_line() -> None:
    """A line that goes on in silence would have pages show old figures as live ones."""
    nats = Nats()
    for fault in (signal.SIGKILL, signal.SIGSTOP):
        await nats.start()
        async with connected(Servers((nats.address,)), "a test") as line:
            nats.send_signal(fault)
            assert await end_of(line)
        await nats.stop()


async def test_a_question_that_nobody_answers_is_answered_so_at_once() -> None:
    """While there is no leader, an edge must ask again soon, and not wait in vain."""
    async with nats_server() as nats, connected(Servers((nats.address,)), "a test") as line:
        with anyio.fail_after(1.0), pytest.raises(NoAnswer):
            await line.request("progress.snapshot.nobody", b"", 20.0)


async def test_a_message_that_nats_does_not_take_is_named_and_the_line_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One user with ten thousand jobs must not cut off all others."""
    async with nats_server() as nats, connected(Servers((nats.address,)), "a test") as line:
        await line.publish("progress.large", b"x" * 2_000_000)
        assert "raise max_payload" in caplog.text
        await line.publish("progress.small", b"x")


async def test_a_server_with_tls_is_believed_by_its_certificate_alone(tmp_path: Path) -> None:
    """Progress of all users goes over this line."""
    certificate, key = self_signed(tmp_path)
    async with nats_server(["--tls", "--tlscert", str(certificate), "--tlskey", str(key)]) as nats:
        address = nats.address.replace("nats:", "tls:")
        assert await echoed("", Servers((address,), tls_ca=certificate)) == b"hello"
        with pytest.raises(LineError, match=r"(?i)certificate"):
            await echoed(address)


@pytest.mark.parametrize(
    ("servers", "name"),
    [
        (Servers(("nats://x",), tls_ca=Path("/nowhere.pem")), "PROGRESS_NATS_TLS_CA"),
        (Servers(("nats://x",), tls_cert=Path("/nowhere.pem")), "PROGRESS_NATS_TLS_CERT"),
        (Servers(("nats://x",), credentials=Path("/nowhere.creds")), "PROGRESS_NATS_CREDENTIALS"),
    ],
)
async def test_a_file_that_is_not_there_ends_the_start(servers: Servers, name: str) -> None:
    """To try again would be in vain, so that must be said and not repeated in the log."""
    with pytest.raises(LineRefused, match=f"{name} is '/nowhere"):
        await echoed("", servers)


def test_without_files_the_system_decides_whom_to_believe() -> None:
    """A public certificate needs no setting."""
    assert tls_context(Servers(("tls://x",))) is None
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED
