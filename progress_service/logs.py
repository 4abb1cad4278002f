"""What is written to the log, and in which form: lines for people, or JSON for programs.

Our modules log by the standard library, and say what happened in a sentence. What a line is about beside
that, the request and the stream, is added from where it is written (`structlog.contextvars`) or by `extra`.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Final, Literal, TextIO

import structlog
from structlog.typing import Processor

__all__ = ["configure"]

ABOUT: Final = frozenset({"request_id", "stream_id"})
"""What a line may carry in `extra`; all else that libraries put there is not ours to show."""


def configure(form: Literal["text", "json"], level: str, stream: TextIO = sys.stderr) -> None:
    """Have all that is logged from now on, at *level* or above, written to *stream*, and there only."""
    said: list[Processor] = [
        structlog.processors.TimeStamper("iso", utc=form == "json"),
        structlog.stdlib.add_log_level,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.ExtraAdder(ABOUT),
    ]
    shown: Sequence[Processor]
    if form == "json":
        process = structlog.processors.CallsiteParameter.PROCESS
        said += [
            structlog.stdlib.add_logger_name,
            structlog.processors.CallsiteParameterAdder({process}),
        ]
        # The traceback as a text: as a structure it would have the values of variables, and some are secret.
        shown = (
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        )
    else:
        shown = (
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            ),
        )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=said,
            processors=(structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shown),
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
