"""docs/supabase.md, done as it is written on a database that has what a project of Supabase brings along."""

import re
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from progress_service.jobs.schema import apply_schema, schema_text
from tests.postgres import connected
from tests.running import ready, token, watching

pytestmark = pytest.mark.anyio

GUIDE = (Path(__file__).parents[1] / "docs" / "supabase.md").read_text(encoding="utf-8")
PROJECT = """
    CREATE SCHEMA auth;
    CREATE TABLE auth.users (id uuid PRIMARY KEY, email text);
    CREATE PUBLICATION supabase_realtime;
"""


def setting(name: str) -> str:
    """What the guide sets."""
    (value,) = re.findall(rf"^    {name}=(\S+)$", GUIDE, re.MULTILINE)
    return str(value)


async def test_the_guide_leads_to_a_bar_that_moves(empty_dsn: str) -> None:
    """Who follows it has no one to ask when a step is missing."""
    (first_job,) = re.findall(r"^    (INSERT INTO .*?;)$", GUIDE, re.MULTILINE | re.DOTALL)
    ada: UUID = uuid4()
    issuer = setting("PROGRESS_JWT_ISSUER")
    async with connected(empty_dsn) as editor:
        await editor.execute(PROJECT)
        assert await apply_schema(empty_dsn, schema_text()) == []
        await editor.execute("INSERT INTO auth.users (id) VALUES ($1)", ada)
        flags = {"jwt_audience": setting("PROGRESS_JWT_AUDIENCE"), "jwt_issuer": issuer}
        async with ready(empty_dsn, **flags) as service:
            # The claims of Supabase's access tokens: a role, and more that is none of our business.
            claims: dict[str, Any] = {
                "aud": "authenticated",
                "iss": issuer,
                "role": "authenticated",
                "session_id": str(uuid4()),
            }
            headers = {"Authorization": f"Bearer {token(ada, **claims)}"}
            async with watching(service.http, ada, headers=headers) as browser:
                await editor.execute(first_job)
                await browser.until(lambda: bool(browser.named("job")))
                assert browser.named("job")[0]["label"] == "A first job"
                assert browser.named("job")[0]["percentage"] == 30
            for foreign in ({"aud": "anon"}, {"iss": "https://other.supabase.co/auth/v1"}):
                headers = {"Authorization": f"Bearer {token(ada, **claims | foreign)}"}
                assert (await service.http.get("/v1/jobs", headers=headers)).status_code == 401
