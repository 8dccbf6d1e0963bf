"""Let "Returns: The step: ..." be prose, and "The mean: ..." of a property.

Napoleon takes what stands before the first colon for a type. Types are in the annotations here, and
a colon is a colon.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx


def as_prose(what: str, lines: list[str]) -> list[str]:
    """Return the lines of a docstring as napoleon leaves them alone."""
    found = [":returns:" if line == "Returns:" else line for line in lines]
    # A shape, ``(N,)``, may well stand for a type. Before a comment there is none.
    if what in ("property", "attribute") and found and not found[0].startswith("``"):
        return ["..", "", *found]
    return found


def _process(_app: Sphinx, what: str, _name: str, _of: Any, _how: Any, lines: list[str]) -> None:
    lines[:] = as_prose(what, lines)


def setup(app: Sphinx) -> dict[str, Any]:
    """Be asked before napoleon is."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
