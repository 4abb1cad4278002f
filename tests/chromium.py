"""A Chromium for the tests: the one that is here, or one that is installed now.

`python tests/chromium.py` makes sure that there is one, and prints where.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ADVICE = "no Chromium was found. Install one (Debian: apt-get install chromium), or set CHROMIUM to its path."


def found() -> str | None:
    """The path of a Chromium, by the variable CHROMIUM, by name, or as Playwright has installed it."""
    for name in (os.environ.get("CHROMIUM", ""), *NAMES):
        if name and (path := shutil.which(name)):
            return path
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    return str(own) if own.exists() else None


def installed() -> str | None:
    """The path of a Chromium that was installed just now: by apt where we may, else by Playwright."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "chromium"]
        commands = [["apt-get", "update", "-qq"], install]
    else:
        commands = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    for command in commands:
        sys.stderr.write(f"$ {' '.join(command)}\n")
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    return found()


def main() -> None:
    """Print where it is, or end with advice."""
    path = found() or installed()
    if path is None:
        sys.exit(ADVICE)
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
