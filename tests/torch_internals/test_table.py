"""What PyTorch does not promise and the library relies on: one test a row of the table."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from reweight import _torch_internals as internals
from tests.torch_internals.about import IN_TABLE

HERE = Path(internals.__file__).parent
ROOT = HERE.parent
WITH_ROWS = ("operators", "graph", "kept", "compiler", "modules", "wrappers")


def test_every_row_has_a_test_and_something_that_wraps_it():
    tested = {
        row
        for name in WITH_ROWS
        for test in vars(importlib.import_module(f"tests.torch_internals.test_{name}")).values()
        for row in getattr(test, "rows", ())
    }
    assert tested == IN_TABLE
    assert len(IN_TABLE) == len(internals.TABLE), "a name stands in the table twice"
    for row in internals.TABLE:
        assert row.wrapped_by in internals.__all__


def test_a_file_that_is_allowed_to_use_a_name_itself_does_so():
    for row in internals.TABLE:
        for path in row.inline:
            assert last(row.name) in (ROOT / path).read_text(encoding="utf-8")


def last(name: str) -> str:
    return name.rpartition(".")[2]


def test_the_declared_lower_bound_has_every_row():
    pyproject = (ROOT.parent / "pyproject.toml").read_text(encoding="utf-8")
    declared = re.search(r'"torch>=(\d+)\.(\d+)"', pyproject)
    assert declared
    bound = tuple(map(int, declared.groups()))
    assert max(tuple(map(int, row.since.split("."))) for row in internals.TABLE) <= bound


_PRIVATE_PATH = re.compile(r"(\w+\.)*_[a-z]\w*(\.\w+)*")


def private_names(path: Path) -> Iterator[str]:
    """Underscored names of others that a file uses: attributes, imports, names in strings."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            if not _of_self(node):
                yield node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
            yield from (p for p in (node.module or "").split(".") if _is_private(p))
            yield from (alias.name for alias in node.names if _is_private(alias.name))
        elif isinstance(node, ast.Constant) and _PRIVATE_PATH.fullmatch(str(node.value)):
            yield next(p for p in node.value.split(".") if _is_private(p))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def own_names() -> set[str]:
    """Underscored names that the library itself defines."""
    found = {"_fields", "_replace", "_getframe"}  # of Python's own, and documented
    for path in ROOT.rglob("*.py"):
        found.add(path.stem if path.stem != "__init__" else path.parent.name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and _of_self(node)
            ):
                found.add(node.attr)
    return found


# Names of their frameworks', or of an object of their own, that integrations use, with a test each.
OF_FRAMEWORKS = {
    ("integrations/_sklearn/given.py", "_is_clone"),
    ("integrations/_sklearn/params.py", "_is_clone"),
    ("integrations/_lightning_callback.py", "_compiler_ctx"),
    ("integrations/transformers/mixin.py", "_set_signature_columns_if_needed"),
    ("integrations/transformers/mixin.py", "_signature_columns"),
}


def test_no_other_file_uses_a_private_name_of_pytorch():
    own = own_names() - {last(name) for name in IN_TABLE}
    allowed = {(path, last(row.name)) for row in internals.TABLE for path in row.inline}
    allowed |= OF_FRAMEWORKS
    found = [
        (str(path.relative_to(ROOT)), name)
        for path in ROOT.rglob("*.py")
        if HERE not in path.parents
        for name in sorted(set(private_names(path)) - own)
    ]
    unexpected = [each for each in found if each not in allowed]
    assert not unexpected, "these belong into reweight/_torch_internals, with a test"


def test_the_scan_sees_what_it_looks_for(tmp_path):
    path = tmp_path / "code.py"
    path.write_text(
        "import sys\n"
        "from torch._ops import OpOverload\n"
        "from torch.overrides import _get_current_function_mode_stack\n"
        "x._version\n"
        "self._enabled, self.module._cache\n"
        "sys.modules.get('torch._dynamo.eval_frame')\n"
        "getattr(x, '_backward_hooks')\n"
        "x.__dict__, 'a sentence with _underscores'\n",
        encoding="utf-8",
    )
    assert sorted(private_names(path)) == [
        "_backward_hooks",
        "_cache",
        "_dynamo",
        "_get_current_function_mode_stack",
        "_ops",
        "_version",
    ]
