"""Which room of the flagship may import from which: arrows go one way."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import examples.covid3d

ROOT = Path(examples.covid3d.__file__).parent
PACKAGE = "examples.covid3d"

BELOW = {
    "common": set(),
    "scans": {"common"},
    "train": {"common", "scans"},
    "methods": {"common", "scans", "train"},
    "audit": {"common", "scans", "train", "methods", "measure", "run"},
    "run": {"common", "scans", "train", "methods", "measure"},
    "measure": {"common", "scans", "train", "methods", "run"},
    "commands": {"common", "scans", "train", "methods", "measure", "run", "audit"},
}
"""What a room may use. A run calls what measures, and what measures reads the run's folder."""


def modules():
    return {
        ".".join((PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path
        for path in ROOT.rglob("*.py")
    }


class _ForTypesAlone(ast.NodeTransformer):
    def visit_If(self, node):
        return None if getattr(node.test, "id", "") == "TYPE_CHECKING" else node


def imports(path):
    """What a file imports when it runs."""
    for node in ast.walk(_ForTypesAlone().visit(ast.parse(path.read_text()))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PACKAGE):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(PACKAGE))


def room(name):
    return name.removeprefix(PACKAGE).lstrip(".").split(".")[0]


def test_every_module_is_in_a_room():
    outside = {room(name) for name in modules()} - set(BELOW) - {"", "__main__"}
    assert not outside


def test_no_room_uses_one_above_it():
    up = [
        f"{name} -> {used}"
        for name, path in modules().items()
        for used in imports(path)
        if room(name) in BELOW and room(used) not in BELOW[room(name)] | {room(name), ""}
    ]
    assert not up


def test_no_module_imports_itself_by_a_detour():
    known = modules()
    graph = {
        name: {used for used in imports(path) if used in known} - {name}
        for name, path in known.items()
        if path.name != "__init__.py"
    }
    TopologicalSorter(graph).prepare()


def test_measuring_needs_no_stage():
    """Of a run, what measures knows where its files are; not how they are made."""
    used = {
        target
        for name, path in modules().items()
        if room(name) == "measure"
        for target in imports(path)
        if room(target) == "run"
    }
    assert not {target for target in used if "stages" in target or "pipeline" in target}
