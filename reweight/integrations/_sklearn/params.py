"""Parameters with a prefix, as skorch has them: ``module__hidden=32``."""

from __future__ import annotations

from typing import Any

PREFIXES = ("module", "criterion", "optimizer", "labels", "weighting", "reweighter")


def prefix_of(name: str) -> str:
    """Return the prefix of a parameter such as ``module__hidden``, empty where it has none."""
    prefix, separator, rest = name.partition("__")
    return prefix if separator and rest and prefix in PREFIXES else ""


def check_names(names: object, owner: object) -> None:
    """Raise a ``TypeError`` if one of the names has none of the prefixes."""
    unknown = [name for name in names if not prefix_of(name)]  # type: ignore[attr-defined]
    if unknown:
        known = ", ".join(f"{prefix}__" for prefix in PREFIXES)
        raise TypeError(
            f"{type(owner).__name__} got unexpected argument(s) {', '.join(unknown)}. What is "
            f"handed on begins with one of {known}."
        )


def options_of(owner: object, prefix: str) -> dict[str, Any]:
    """Return the values of the parameters with ``prefix``, by the name without it."""
    start = f"{prefix}__"
    found = vars(owner).items()
    return {name.removeprefix(start): value for name, value in found if name.startswith(start)}
