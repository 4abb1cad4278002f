"""The README's first job, typed as it is printed: who cannot see it move looks no further."""

import os
import re
import signal
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Final

import anyio
import pytest
from anyio.streams.text import TextReceiveStream

from progress_service.embedded.server import programs_folder
from tests.onlooker import Database
from tests.running import SECRET, WAIT_SECONDS_MAX, ready

ROOT: Final = Path(__file__).parents[1]


@pytest.mark.anyio
async def test_the_first_job_is_seen_to_move_and_to_end(database: Database) -> None:
    """A person, a token, a stream and a worker, with nothing but what the page shows."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    async with ready(database.dsn) as service:
        assert script.count("http://localhost:8080") == 1
        script = script.replace("http://localhost:8080", service.address)
        environment = {
            "PATH": os.pathsep.join(
                [str(Path(sys.executable).parent), str(programs_folder(18)), os.environ["PATH"]]
            ),
            "DATABASE_URL": database.dsn,
            "PROGRESS_JWT_SECRET": SECRET,
        }
        # The stream that is opened in the background has to end with the test.
        process = await anyio.open_process(
            ["bash", "-e", "-c", script], env=environment, stdout=PIPE, stderr=STDOUT, start_new_session=True
        )
        assert process.stdout is not None
        said, more = "", TextReceiveStream(process.stdout)
        try:
            with anyio.fail_after(WAIT_SECONDS_MAX):
                while '"label":"A first job","status":"completed"' not in said:
                    said += await more.receive()
                assert await process.wait() == 0
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            await process.aclose()
    # It moved before it ended.
    assert len(set(re.findall(r'"percentage":(\d+)', said))) > 3
