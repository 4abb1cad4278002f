"""A notebook: one word around a loop, in a cell with `for` and in a cell with `async for`.

Open it in VS Code, PyCharm or Spyder (or, by way of jupytext, in Jupyter) and run the cells. Or in a shell:

    DATABASE_URL=postgresql://… USER_ID=… FOLDER=texts ipython -c "$(cat notebook.py)"

A notebook's event loop runs already, so `asyncio.run` is not to be had; neither of the two ways needs it.
Interrupting a cell ends its job, which then says how far it came.
"""

# %% Whose screens show it, and what there is to read
import asyncio
import os
from collections import Counter
from pathlib import Path

from progress_service import track, track_sync

user_id = os.environ.get("USER_ID", "7d0f8c52-0000-4000-8000-000000000000")
paths = sorted(Path(os.environ.get("FOLDER", "texts")).glob("*.txt"))

# %% An ordinary loop: a thread of its own writes the row while the cell is busy
words: Counter[str] = Counter()
for path in track_sync(paths, user_id=user_id, label="Count words"):
    words.update(path.read_text(encoding="utf-8").lower().split())
print(*(f"{times:6} {word}" for word, times in words.most_common(5)), sep="\n")


# %% An asynchronous loop: a cell may `await` at its top
async def longest_line(path: Path) -> int:
    """In characters. Read by a thread, so that meanwhile the event loop is free to write the row."""
    text = await asyncio.to_thread(path.read_text, encoding="utf-8")
    return max(map(len, text.splitlines()), default=0)


longest: dict[str, int] = {}
async for path in track(paths, user_id=user_id, label="Longest lines"):
    longest[path.name] = await longest_line(path)
print(longest)
