"""Every public class and function shows how it is used, and what it shows is so."""

from __future__ import annotations

import doctest
import importlib
import inspect
import io
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import reweight
import reweight.integrations
from tests import device
from tests.compatibility.frameworks import need

pytestmark = pytest.mark.skipif(
    device.wanted() is not None, reason="examples show what is printed of tensors on a CPU"
)

FLAGS = re.DOTALL | re.MULTILINE
PAGES = Path(__file__).parent.parent / "docs" / "integrations"
PLACES = [
    "reweight",
    "reweight.dynamics",
    "reweight.labels",
    "reweight.lookahead",
    "reweight.scorers",
    "reweight.selectors",
    "reweight.weightings",
]
INTEGRATIONS = [
    module.name
    for module in pkgutil.iter_modules(reweight.integrations.__path__)
    if not module.name.startswith("_")
]


def public(module: ModuleType) -> dict[str, object]:
    """Return the classes and functions of a module's ``__all__``, by their full names."""
    found = {name: getattr(module, name) for name in getattr(module, "__all__", ())}
    return {
        f"{module.__name__}.{name}": value
        for name, value in found.items()
        if (inspect.isclass(value) and value is not Any) or inspect.isfunction(value)
    }


# What is in several places is looked at once.
NAMES = {
    value: name
    for place in reversed(PLACES)
    for name, value in public(importlib.import_module(place)).items()
}
OBJECTS = {name: value for value, name in NAMES.items()}


def examples(
    name: str, value: object, names: dict[str, object] | None = None
) -> list[doctest.DocTest]:
    """Return the examples of a class and its methods, or of a function, which know of ``names``."""
    found = doctest.DocTestFinder().find(value, name, globs=names or {})
    return [test for test in found if test.examples]


def failures(tests: list[doctest.DocTest]) -> str:
    """Run examples, and return what is to be said of those that do not show what is so."""
    said = io.StringIO()
    for test in tests:
        torch.manual_seed(0)
        runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
        runner.run(test, out=said.write)
    return said.getvalue()


def check(tests: list[doctest.DocTest]) -> None:
    if said := failures(tests):
        pytest.fail(said, pytrace=False)


@pytest.mark.parametrize("name", OBJECTS)
def test_what_the_examples_of_a_docstring_show_is_so(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    tests = examples(name, OBJECTS[name])
    assert tests, f"{name} has no example: an 'Example:' section with lines that begin with >>>"
    check(tests)


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_an_integration_is_used_in_an_example_of_a_page(name):
    """Which ``test_docs`` runs; so are what examples its docstrings have."""
    full = f"reweight.integrations.{name}"
    texts = [page.read_text(encoding="utf-8") for page in PAGES.glob("*.md")]
    blocks = [
        block for text in texts for block in re.findall(r"^```python\n(.*?)^```$", text, FLAGS)
    ]
    assert any(full in block for block in blocks), f"no page has an example of {full}"
    need(full)
    members = public(importlib.import_module(full))
    names = {member.rpartition(".")[2]: value for member, value in members.items()}
    for member, value in members.items():
        check(examples(member, value, names))


def test_a_wrong_example_would_be_found():
    def sum_of_two() -> None:
        """Add.

        Example:
            >>> 1 + 1
            3
        """

    assert "Expected:" in failures(examples("sum_of_two", sum_of_two))
