"""The gallery: every script of ``examples/``, with what it says of itself, and its picture.

``docs/gallery.md`` holds the words above; what follows is written here when the page is read, so
that a script added to the folder is in the gallery.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

PAGE = "gallery"
FIRST = ("quickstart", "wrong_labels")  # what a newcomer looks at, then by name


def scripts(folder: Path) -> list[Path]:
    """Return the scripts of ``folder``, in the order in which they are shown."""
    found = sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))
    order = {name: place for place, name in enumerate(FIRST)}
    return sorted(found, key=lambda path: order.get(path.stem, len(order)))


def section(script: Path, docs: Path) -> str:
    """Return the part of the page that shows ``script``, as Markdown."""
    said = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    first, _, rest = said.partition("\n")
    picture = f"images/gallery/{script.stem}.png"
    title = script.stem.replace("_", " ").capitalize()
    parts = [f"## {title}", first, rest.strip()]
    if (docs / picture).exists():
        parts.append(f"![What {script.name} shows]({picture})")
    parts.append(
        f"````{{dropdown}} examples/{script.name}\n"
        f"```{{literalinclude}} ../examples/{script.name}\n"
        f":language: python\n```\n````"
    )
    return "\n\n".join(part for part in parts if part)


def _fill(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname == PAGE:
        docs = Path(app.srcdir)
        shown = [section(script, docs) for script in scripts(docs.parent / "examples")]
        source[0] = "\n\n".join([source[0].rstrip(), *shown, ""])


def _always(*_: Any) -> list[str]:
    return [PAGE]


def setup(app: Sphinx) -> dict[str, Any]:
    """Have the page filled, and read anew in every build."""
    app.connect("source-read", _fill)
    app.connect("env-get-outdated", _always)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
