"""Which peers there are, and ours in the same form, so that one loop measures them all."""

from collections.abc import Sequence

from loadtest.peers.better_sse import BetterSse
from loadtest.peers.centrifugo import Centrifugo
from loadtest.peers.django import DjangoEventStream
from loadtest.peers.mercure import Mercure
from loadtest.peers.nchan import Nchan
from loadtest.peers.ours import Ours
from loadtest.peers.peer import Peer
from loadtest.peers.plain import Plain


def ours() -> Peer:
    """Our own service, started and asked in the way of its peers."""
    return Ours()


def peers() -> Sequence[Peer]:
    """Every peer, in the order of tables; ask each why it is `absent`."""
    return (Plain(), BetterSse(), Nchan(), DjangoEventStream(), Centrifugo(), Mercure())
