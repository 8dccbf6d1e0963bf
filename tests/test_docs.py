"""Every Python example in the README and the docs runs as written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.compatibility.frameworks import need

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "integrations").glob("*.md")),
]
FRAMEWORKS = {"loggers": "tensorboard"}
FENCE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


@pytest.mark.usefixtures("on_the_cpu")  # PyTorch's loaders shuffle with a generator of the CPU
@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if FENCE.search(p.read_text(encoding="utf-8"))],
    ids=lambda page: page.name,
)
def test_the_examples_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    if page.parent.name == "integrations":
        need(FRAMEWORKS.get(page.stem, page.stem))
    monkeypatch.chdir(tmp_path)  # some write files
    text = page.read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in FENCE.finditer(text):
        line = text[: block.start(1)].count("\n")
        exec(compile("\n" * line + block[1], str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page):
    broken = [
        link
        for link in LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert not broken
