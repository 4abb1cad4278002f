"""A stream outlives its first token, and no stream outlives the last."""

import os
import signal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import httpx
import pytest

from progress_service.api import denials
from progress_service.service import opened
from progress_service.settings import Settings, SettingsError
from tests.postgres import connected, new_user
from tests.running import Browser, Running, bearer, heeding_signals, ready, running, watching

pytestmark = pytest.mark.anyio

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
NEW_JOB = "INSERT INTO bulk_enrichment_jobs (user_id, status) VALUES ($1, 'running') RETURNING id"


async def warned(browser: Browser, count: int = 1) -> str:
    """The id that the stream's warning tells."""
    await browser.until(lambda: len(browser.named("expiring")) >= count)
    return str(browser.named("expiring")[-1]["stream"])


async def renewal(service: Running, stream_id: str, headers: dict[str, str], **more: Any) -> httpx.Response:
    """The answer to a renewal."""
    return await service.http.post(f"/v1/streams/{stream_id}/renew", headers=headers, **more)


async def test_a_renewed_stream_goes_on_past_its_first_tokens_end(dsn: str) -> None:
    """What happens while a token is replaced is not missed, and nobody reconnects."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        async with watching(service.http, ada, seconds=1.5) as browser:
            answer = await renewal(service, await warned(browser), bearer(ada, seconds=2.5))
            assert answer.status_code == httpx.codes.OK
            await warned(browser, 2)
            first_end, new_end = (warning["at"] for warning in browser.named("expiring"))
            assert first_end < new_end == answer.json()["expires_at"]
            job_id = await worker.fetchval(NEW_JOB, ada)
            await browser.until(lambda: browser.is_ended)
        assert [event.type for event in browser.events] == [
            "snapshot", "expiring", "expiring", "job", "totals", "expired",
        ]  # fmt: skip
        assert browser.named("job")[0]["id"] == str(job_id)
        assert browser.named("expired") == [{"at": new_end}]


async def test_only_a_good_credential_of_the_same_user_renews() -> None:
    """A bad renewal is refused, and makes the stream nobody's: it ends as it would have."""
    async with running(NOWHERE) as service:
        ada = uuid4()
        async with watching(service.http, ada, seconds=1) as browser:
            stream_id = await warned(browser)
            ticket = (await service.http.post("/v1/tickets", headers=bearer(ada))).json()["ticket"]
            text = {"content": b"x", "headers": bearer(ada) | {"Content-Type": "text/plain"}}
            for answer, status in (
                (await renewal(service, stream_id, {}), 401),
                (await renewal(service, stream_id, bearer(ada, seconds=-1)), 401),
                (await renewal(service, f"{stream_id}/renew?ticket={ticket}#", {}), 401),
                (await renewal(service, stream_id, bearer(uuid4())), 404),
                (await renewal(service, "another", bearer(ada)), 404),
                (await service.http.post(f"/v1/streams/{stream_id}/renew", **text), 415),  # type: ignore[arg-type]
                (await service.http.get(f"/v1/streams/{stream_id}/renew", headers=bearer(ada)), 405),
            ):
                assert answer.status_code == status, answer.text
                assert answer.headers["content-type"] == "application/problem+json"
            await browser.until(lambda: browser.is_ended)
            assert [event.type for event in browser.events] == ["snapshot", "expiring", "expired"]


async def denied_within_a_second(service: Running, browser: Browser, user_id: UUID) -> None:
    """The stream ends, and every door is shut."""
    with anyio.fail_after(1.0):
        await browser.until(lambda: browser.is_ended)
    assert browser.events[-1].type == "expired"
    for path in ("/v1/stream", "/v1/jobs"):
        answer = await service.http.get(path, headers=bearer(user_id))
        assert answer.status_code == httpx.codes.UNAUTHORIZED
        assert answer.json()["type"] == "/problems/token-revoked"


async def test_a_user_who_is_denied_is_out_within_a_second_and_may_come_back(tmp_path: Path) -> None:
    """A token that was issued cannot be taken back; whoever holds a lost laptop must see nothing more."""
    ada, grace = uuid4(), uuid4()
    path = tmp_path / "denied"
    path.write_text("# nobody yet\n", encoding="utf-8")
    async with (
        running(NOWHERE, denied_subjects_file=path) as service,
        watching(service.http, ada) as of_ada,
        watching(service.http, grace) as of_grace,
    ):
        session = (await service.http.post("/v1/session", headers=bearer(ada))).headers["set-cookie"]
        ticket = (await service.http.post("/v1/tickets", headers=bearer(ada))).json()["ticket"]
        path.write_text(f"{str(ada).upper()}  # a lost laptop\nnot a user\n", encoding="utf-8")
        await denied_within_a_second(service, of_ada, ada)
        cookie = {"Cookie": session.partition(";")[0]}
        assert (await service.http.get("/v1/jobs", headers=cookie)).status_code == 401
        assert (await service.http.get(f"/v1/stream?ticket={ticket}")).status_code == 401
        assert not of_grace.is_ended

        new = tmp_path / "new"
        new.write_text(f"{grace}\n", encoding="utf-8")
        new.rename(path)
        await denied_within_a_second(service, of_grace, grace)
        assert (await service.http.get("/v1/jobs", headers=bearer(ada))).status_code == 200


async def test_a_list_that_vanishes_lets_nobody_in_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What fails while it guards must fail shut."""
    ada = uuid4()
    path = tmp_path / "denied"
    path.write_text(f"{ada}\n", encoding="utf-8")
    async with running(NOWHERE, denied_subjects_file=path) as service:
        path.unlink()
        service.service.denials.reload()
        with anyio.fail_after(10):
            while "cannot be read; the users that it had stay denied" not in caplog.text:
                await anyio.lowlevel.checkpoint()
        assert (await service.http.get("/v1/jobs", headers=bearer(ada))).status_code == 401
    with pytest.raises(
        SettingsError, match=r"PROGRESS_DENIED_SUBJECTS_FILE is '.*denied', which cannot be read"
    ):
        async with opened(Settings(_env_file=None, jwt_secret="x" * 32, denied_subjects_file=path), NOWHERE):
            pass


async def test_a_list_that_looks_unchanged_is_read_at_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system with coarse times may hide a change; SIGHUP is how operators say so."""
    monkeypatch.setattr(denials, "_version", lambda _: (0, 0, 0))
    monkeypatch.setattr(denials, "_read", lambda path: ((0, 0, 0), frozenset(path.read_text().split())))
    ada = uuid4()
    path = tmp_path / "denied"
    path.write_text("", encoding="utf-8")
    async with (
        heeding_signals(NOWHERE, denied_subjects_file=path) as (http, ended),
        watching(http, ada) as browser,
    ):
        path.write_text(str(ada), encoding="utf-8")
        os.kill(os.getpid(), signal.SIGHUP)
        await browser.until(lambda: browser.is_ended)
        assert (await http.get("/v1/jobs", headers=bearer(ada))).status_code == 401
        assert not ended.is_set()


async def test_no_list_denies_nobody() -> None:
    """Most who run this service have none."""
    async with running(NOWHERE) as service:
        service.service.denials.reload()
        assert (await service.http.get("/v1/jobs", headers=bearer(uuid4()))).status_code == 200
