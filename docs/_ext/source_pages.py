"""Lead from a source page to the entry that there is.

``sphinx.ext.viewcode`` takes all that a file holds to be documented under one module's name, where
``reweight.Scorer`` and ``reweight.scorers.as_mixture`` are of one file.
"""

from __future__ import annotations

import re
from typing import Any

from public_names import public_name
from sphinx.application import Sphinx

ENTRY = re.compile(r'(?<=#)(?:reweight\.)(?:[a-z]\w*\.)?(\w+)((?:\.\w+)*)(?=")')
NO_MODULE = re.compile(r'<li><a href="builtins.html">builtins</a></li>\n?')


def _mend(app: Sphinx, pagename: str, template: str, context: dict[str, Any], _: object) -> None:
    if template != "page.html" or not pagename.startswith("_modules/"):
        return
    objects = app.env.domains.python_domain.objects

    def entry(link: re.Match[str]) -> str:
        if link[0] in objects:
            return link[0]
        found = public_name(link[1], list(objects))
        return link[0] if found is None else found + link[2]

    context["body"] = NO_MODULE.sub("", ENTRY.sub(entry, context["body"]))


def setup(app: Sphinx) -> dict[str, Any]:
    """Be asked before a page is written."""
    app.connect("html-page-context", _mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
