"""Which part of all users a relay is for: the user's id alone says so, in Python as in SQL."""

from dataclasses import dataclass
from hashlib import sha256

SHARDS_MAX = 256
HASH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Shard:
    """The *number*th of *count* parts, counted from 1. Each user belongs to exactly one of them."""

    number: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def is_all(self) -> bool:
        """Whether it has every user."""
        return self.count == 1

    def has(self, user_id: str) -> bool:
        """Whether this user belongs to it; the id is written as PostgreSQL writes a uuid."""
        return self.is_all or shard_number(user_id, self.count) == self.number


ALL = Shard()


def shard_number(user_id: str, count: int) -> int:
    """The number, from 1 to *count*, of the shard that has this user."""
    # An id need not be made by chance, and its digits may have a pattern; those of its hash have none.
    digest = sha256(user_id.encode(), usedforsecurity=False).digest()
    return 1 + int.from_bytes(digest[:HASH_BYTES], "big") % count
