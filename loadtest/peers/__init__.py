"""The services that ours is compared with: `peers()` are all, present or not."""

from loadtest.peers.known import ours, peers
from loadtest.peers.peer import InstallError, Peer, Running, Usage, usage

__all__ = ["InstallError", "Peer", "Running", "Usage", "ours", "peers", "usage"]
