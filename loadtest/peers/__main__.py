"""The peers: which are here, which are not and why; `--install` installs what can be.

python -m loadtest.peers [--install] [NAME …]
"""

import argparse
import sys

from rich.console import Console
from rich.table import Table

from loadtest.peers import InstallError, ours, peers
from loadtest.peers.peer import cache_folder


def main() -> int:
    """Install if asked to, and show the table; the exit status is 1 if something could not be installed."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.peers", description=(__doc__ or "").partition("\n")[0]
    )
    known = {peer.name: peer for peer in peers()}
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(known)}")
    parser.add_argument("--install", action="store_true", help=f"into {cache_folder()}, or with apt as root")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(known):
        parser.error(f"no peer is called {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    chosen = [peer for name, peer in known.items() if not asked.names or name in asked.names]
    failures: dict[str, str] = {}
    for peer in chosen if asked.install else ():
        if peer.is_installable and peer.absent() is not None:
            print(f"installing {peer.name}", file=sys.stderr)
            try:
                peer.install()
            except InstallError as error:
                failures[peer.name] = str(error)
    table = Table("peer", "version", "", title="What is measured beside ours", title_justify="left")
    for peer in [ours(), *chosen]:
        why = failures.get(peer.name) or peer.absent()
        table.add_row(peer.name, peer.version(), "present" if why is None else f"absent: {why}")
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
