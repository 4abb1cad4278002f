"""Findings: whether one thing is in order, in words, and the command that corrects it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import asyncpg


class Verdict(StrEnum):
    """How much it matters."""

    WELL = "well"
    NOTE = "note"
    """The service works, and something may go wrong, or is not to be had."""
    WRONG = "wrong"
    """Some bar does not move, or shows what it must not."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        subject: The thing, in a word or two.
        verdict: How much it matters.
        said: What was found.
        remedy: A command, an SQL statement or a setting that corrects it; empty where all is in order.
    """

    subject: str
    verdict: Verdict
    said: str
    remedy: str = ""


Findings: TypeAlias = AsyncIterator[Finding]


def well(subject: str, said: str) -> Finding:
    """It is as it should be."""
    return Finding(subject, Verdict.WELL, said)


def note(subject: str, said: str, remedy: str) -> Finding:
    """It may be meant so."""
    return Finding(subject, Verdict.NOTE, said, remedy)


def wrong(subject: str, said: str, remedy: str) -> Finding:
    """It keeps a bar from moving, or people's jobs from being theirs alone."""
    return Finding(subject, Verdict.WRONG, said, remedy)


async def guarded(subject: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
    """Return the finding of *check*; one that PostgreSQL refuses is itself a finding, and others go on."""
    try:
        return await check()
    except (asyncpg.PostgresError, OverflowError) as error:
        said = " ".join(str(error).split())
        return wrong(subject, f"the check failed: {said}", "correct that, and run doctor again")
