"""The pages of the integrations, and the reference of those whose framework is installed here.

``docs/integrations/index.md`` and ``docs/api/integrations.rst`` hold the words above; the rest is
written when they are read, so that an integration is added by its module and its page alone.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

LEFT_OUT = "*Its framework was not installed where these pages were built.*"
METADATA = re.compile(r"set_\w+_request|get_metadata_routing")
PAGES, REFERENCE = "integrations/index", "api/integrations"


def pages(folder: Path) -> str:
    """Return a list of the pages in ``folder``, each with its first paragraph, as Markdown."""
    found = [path for path in sorted(folder.glob("*.md")) if path.stem != "index"]
    if not found:
        return ""
    listed = [_listed(path) for path in found]
    contents = "\n".join(path.stem for path in found)
    return "\n".join([*listed, "", "```{toctree}", ":hidden:", "", contents, "```"])


def _listed(page: Path) -> str:
    title, _, rest = page.read_text(encoding="utf-8").partition("\n")
    first = " ".join(rest.strip().partition("\n\n")[0].split())
    # A heading, a list or a block says nothing here.
    said = f": {first}" if first[:1].isalnum() or first[:1] in "`*" else ""
    return f"- [{title.lstrip('# ')}]({page.name}){said}"


def modules(root: Path) -> list[str]:
    """Return the names of the integrations, installed framework or not."""
    found = (root / "reweight" / "integrations").iterdir()
    return sorted(
        path.stem
        for path in found
        if path.name[0] not in "_." and (path.suffix == ".py" or (path / "__init__.py").exists())
    )


def reference(name: str) -> str:
    """Return the part of the reference for one of them, as reStructuredText."""
    full = f"reweight.integrations.{name}"
    head = f"{name}\n{'-' * len(name)}\n\nIn ``{full}``."
    try:
        importlib.import_module(full)
    except (ImportError, OSError, RuntimeError) as error:  # a framework that lacks, or is broken
        logging.getLogger(__name__).info("%s is left out of the reference: %s", full, error)
        return f"{head}\n\n{LEFT_OUT}"
    return f"{head}\n\n.. automodule:: {full}\n   :members:\n   :show-inheritance:"


def _fill(app: Sphinx, docname: str, source: list[str]) -> None:
    docs = Path(app.srcdir)
    if docname == PAGES:
        source[0] = f"{source[0].rstrip()}\n\n{pages(docs / 'integrations')}\n"
    if docname == REFERENCE:
        shown = [reference(name) for name in modules(docs.parent)]
        source[0] = "\n\n".join([source[0].rstrip(), *shown, ""])


def _skip(_app: Sphinx, _what: str, name: str, value: Any, *_: Any) -> bool | None:
    """Leave out what scikit-learn puts into its estimators, and what says nothing of a field."""
    nothing = (getattr(value, "__doc__", None) or "").startswith("Alias for field number")
    return True if nothing or METADATA.fullmatch(name) else None


def _always(*_: Any) -> list[str]:
    return [PAGES, REFERENCE]


def setup(app: Sphinx) -> dict[str, Any]:
    """Have the pages filled, and read anew in every build."""
    app.connect("source-read", _fill)
    app.connect("autodoc-skip-member", _skip)
    app.connect("env-get-outdated", _always)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
