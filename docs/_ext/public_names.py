"""Link a type that an annotation names by the module it is defined in to its public entry.

``reweight.scorers.mixture.Scorer`` is where the class is written, ``reweight.Scorer`` where it is
documented. What is written in a private module and has no entry is shown without a link. In the
pages, a link to a source file becomes one to the entry of the class in it.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

import reweight

SOURCE = re.compile(r"\]\(((?:\.\./)+reweight/[\w/]+\.py)\)")


def public_name(target: str, documented: list[str]) -> str | None:
    """Return the entry that ``target`` stands for: of a member of a module, or of a class in it."""
    names = target.split(".")
    if names[0] == "reweight":  # whatever the modules between
        names = [name for name in names if not name.islower()] or names[-1:]
    wanted = ".".join(names)
    found = [
        full
        for full in documented
        if full.endswith(f".{wanted}") and full.removesuffix(f".{wanted}").islower()
    ]
    return min(found, key=lambda full: (full.count("."), full), default=None)


def is_alias(name: str) -> bool:
    """Whether a module here has such a name for a type that is no class, and so has no entry."""
    modules = [module for full, module in sys.modules.items() if full.startswith("reweight.")]
    return any(not isinstance(vars(module).get(name, type), type) for module in modules)


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.TextElement
) -> nodes.Node | None:
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    objects = env.domains.python_domain.objects
    found = public_name(target, list(objects))
    if found is None:
        private = target.startswith("reweight.") and "._" in target
        return shown if private or is_alias(target) else None
    entry = objects[found]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, shown, found)


def _link_entries(app: Sphinx, docname: str, source: list[str]) -> None:
    folder = (Path(app.srcdir) / docname).parent

    def entry(link: re.Match[str]) -> str:
        tree = ast.parse((folder / link[1]).read_text(encoding="utf-8"))
        classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        public = [name for name in classes if name in reweight.__all__]
        return f"](#reweight.{public[0]})" if public else link[0]

    source[0] = SOURCE.sub(entry, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Be asked where Sphinx finds no entry, and when a page is read."""
    app.connect("missing-reference", _resolve)
    app.connect("source-read", _link_entries)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
