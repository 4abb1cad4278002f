"""Every setting as a table: its name, what it takes, what it is unless set, and what it says of itself."""

from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from progress_service.settings import Settings
from progress_service.settings.fields import variable
from tests.documents.table import listed
from tests.documents.table import table as table_of


def table() -> str:
    """The table."""
    rows = []
    for name, field in Settings.model_fields.items():
        rows.append((f"`{variable(name)}`", _takes(field), _default(field), str(field.description)))
    return table_of(("setting", "takes", "unless set", "what it is"), rows)


def _takes(field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) is Literal:
        return listed(get_args(kind))
    if kind is bool:
        return "`true`, `false`"
    lowest = next((limit.ge for limit in field.metadata if hasattr(limit, "ge")), None)
    highest = next((limit.le for limit in field.metadata if hasattr(limit, "le")), None)
    if lowest is not None and highest is not None:
        return f"{lowest:,} to {highest:,}"
    return "a list, with commas" if isinstance(field.default, tuple) else "a text"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == ():
        return ""
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) and value < 10**5 else f"`{value}`".replace(".0`", "`")
