"""What a setting that is refused is answered with: one line that names it, and says what would be right.

The line shows no secret. A setting is named as it was given: `--port` on the command line, `PROGRESS_PORT`
in the environment.
"""

import difflib
from collections.abc import Collection, Iterable
from typing import get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from progress_service.settings.fields import PREFIX, Fields, variable
from progress_service.settings.values import shown


class SettingsError(Exception):
    """The service cannot start with these settings; the text is one line for whoever set them."""


def refuse_unknown(names: Iterable[str], place: str) -> None:
    """See that every name of ours in *place* is that of a setting.

    Raises:
        SettingsError: One is not; the text has the name that was perhaps meant.
    """
    known = {field.upper(): variable(field) for field in Fields.model_fields}
    for name in names:
        if name.startswith(PREFIX) and name not in known.values():
            near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1, cutoff=0.5)
            hint = f"did you mean {known[near[0]]}?" if near else "remove it, or correct its name"
            raise SettingsError(f"{name} in {place} is not a setting; {hint}")


def sentence(error: ValidationError, flags: Collection[str]) -> str:
    """The first fault of *error* as one line; *flags* are the fields that the command line gave."""
    fault = error.errors(include_url=False)[0]
    own_reason = fault.get("ctx", {}).get("error")
    if not fault["loc"]:
        return str(own_reason)
    field = str(fault["loc"][0]).lower()
    name = "--" + field.replace("_", "-") if field in flags else variable(field)
    if own_reason is not None:
        return f"{name} {own_reason}"
    return f"{name} is {shown(fault['input'])}; it must be {_right(Fields.model_fields[field])}"


def _right(field: FieldInfo) -> str:
    """Which values *field* takes, and which it has unless set."""
    choices = get_args(field.annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        form = f"one of {', '.join(choices)}"
    elif field.annotation is bool:
        form = "true or false"
    else:
        lowest = next(limit.ge for limit in field.metadata if hasattr(limit, "ge"))
        highest = next(limit.le for limit in field.metadata if hasattr(limit, "le"))
        form = f"a {'whole ' * (field.annotation in (int, int | None))}number from {lowest} to {highest}"
    return f"{form} ({str(field.default).lower()} unless set)"
