"""Whether settings that were read from a file are of the types that settings have."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from examples.covid3d.common.errors import problem


def check_types(of: type, values: dict[str, Any], where: str) -> None:
    """Checks each value against the annotation of its field.

    Args:
        of: A class with annotated fields.
        values: By the names of fields.
        where: The file they are from.

    Raises:
        UserError: For the first that is of another type, as in a file that was edited by hand.
    """
    hints = get_type_hints(of)
    for name, value in values.items():
        if not _is(value, hints[name]):
            shown = list(value) if isinstance(value, tuple) else value
            raise problem(
                where,
                f"{name} is {shown!r}",
                _named(hints[name]),
                f"correct it, or give --{name.replace('_', '-')} with --preset",
            )


def _is(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_is(value, one) for one in inner)
    if origin is Literal:
        return isinstance(value, str)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        # How many there must be is checked, and said, elsewhere.
        return all(_is(one, inner[0]) for one in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _named(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"a list of {_named(get_args(hint)[0])}s"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_named(one) for one in get_args(hint))
    words = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    return words.get(hint, "null" if hint is type(None) else "text")
