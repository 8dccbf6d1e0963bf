"""The site is built without a warning, speaks of every public name, and leads nowhere broken."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import reweight
import reweight.lookahead
import reweight.typing

for needed in ("furo", "myst_parser", "sphinx", "sphinx_copybutton", "sphinx_design"):
    pytest.importorskip(needed, reason="what builds the site is in requirements/development.txt")

ROOT = Path(__file__).parent.parent
PUBLIC = [
    *(f"reweight.{name}" for name in reweight.__all__),
    *(f"reweight.typing.{name}" for name in reweight.typing.__all__ if name != "Lookahead"),
    *(f"reweight.lookahead.{name}" for name in reweight.lookahead.__all__ if "Like" not in name),
]


# As ``python -m sphinx``, where torchvision may be of another build than PyTorch.
SPHINX = """
import contextlib, sys
import pytest
from sphinx.cmd.build import main
from tests.compatibility.frameworks import need

with contextlib.suppress(pytest.skip.Exception):
    need("torchvision")
sys.exit(main(sys.argv[1:]))
"""


@dataclass
class Page:
    """What leads away from a page, and what may be led to."""

    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path) -> Page:
        page = cls()

        class Reader(HTMLParser):
            def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
                for name, value in attrs:
                    if name in ("href", "src") and value:
                        page.links.append(value)
                    if name == "id" and value:
                        page.anchors.add(value)

        Reader().feed(path.read_text(encoding="utf-8"))
        return page


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Return what the builder said, its exit status, and the folder of the site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-c", SPHINX, "-W", "--keep-going", "-n", "-q"]
    done = subprocess.run(
        [*command, "-d", str(folder / "trees"), str(ROOT / "docs"), str(folder / "html")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    return done.stderr, done.returncode, folder / "html"


@pytest.fixture(scope="module")
def pages(build):
    _, _, folder = build
    return {path: Page.read(path) for path in sorted(folder.rglob("*.html"))}


def broken(pages: dict[Path, Page]) -> list[str]:
    """Return the links to files or anchors that are not there, each with its page."""
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue  # elsewhere: nothing is fetched
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else set()
            lost = parts.fragment and target.suffix == ".html" and parts.fragment not in anchors
            if not target.exists() or lost:
                found.append(f"{path.name}: {link}")
    return found


def test_the_site_is_built_without_a_warning(build):
    said, status, _ = build
    assert status == 0, said
    assert "WARNING" not in said


def test_every_public_name_has_an_entry(pages):
    anchors = set().union(*(page.anchors for page in pages.values()))
    assert [name for name in PUBLIC if name not in anchors] == []


def test_no_link_and_no_picture_leads_nowhere(pages):
    assert broken(pages) == []


def test_a_link_that_leads_nowhere_would_be_found(tmp_path):
    path = tmp_path / "page.html"
    path.write_text('<a href="#here">a</a><img src="gone.png"><a href="page.html#gone" id="here">')
    assert broken({path: Page.read(path)}) == ["page.html: gone.png", "page.html: page.html#gone"]


def test_every_page_of_the_docs_is_in_the_site(build):
    _, _, folder = build
    written = {
        path.relative_to(ROOT / "docs").with_suffix("") for path in ROOT.glob("docs/**/*.md")
    }
    shown = {path.relative_to(folder).with_suffix("") for path in folder.rglob("*.html")}
    missing = written - shown
    if not (ROOT / "CONTRIBUTING.md").exists():
        missing.discard(Path("contributing"))
    assert missing == set()


def test_every_script_of_the_gallery_is_shown_with_its_picture(build):
    _, _, folder = build
    shown = (folder / "gallery.html").read_text(encoding="utf-8")
    scripts = {path.stem for path in ROOT.glob("examples/*.py") if not path.stem.startswith("_")}
    assert scripts
    for name in scripts:
        assert f"examples/{name}.py" in shown
        pictured = f'alt="What {name}.py shows"' in shown
        assert pictured == (ROOT / f"docs/images/gallery/{name}.png").exists()


def test_the_table_on_the_first_page_has_the_numbers_of_the_whole_one():
    """Every number of the home page's table is in one row of the page it was taken from."""
    whole = (ROOT / "docs" / "when-it-helps.md").read_text(encoding="utf-8")
    home = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    table = home.partition("## Does it help?")[2].partition("\nTrusted:")[0]
    number = re.compile(r"\d\d\.\d")
    known = [set(number.findall(row)) for row in whole.splitlines() if row.startswith("| ")]
    rows = [numbers for row in table.splitlines() if (numbers := number.findall(row))]
    assert len(rows) == 8
    for numbers in rows:
        assert len(numbers) >= 4
        assert any(set(numbers) <= row for row in known), numbers
