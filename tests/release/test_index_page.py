"""What an index shows has no link that it cannot follow."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release.index_page import index_page, relative_links

ROOT = Path(__file__).parent.parent.parent
PAGE = """See [guide](docs/guide.md#batches), [paper](https://arxiv.org/abs/1803.09050),
[below](#below).

![a picture](docs/images/one.png)

```markdown
[this stays](as/it.is)
```
"""
ADDRESS = "https://example.org/owner/name"


def test_links_lead_to_the_tag_and_pictures_to_the_file():
    page = index_page(PAGE, ADDRESS + "/", "1.2.3")
    assert f"[guide]({ADDRESS}/blob/v1.2.3/docs/guide.md#batches)" in page
    assert f"![a picture]({ADDRESS}/raw/v1.2.3/docs/images/one.png)" in page
    assert "[paper](https://arxiv.org/abs/1803.09050),\n[below](#below)." in page
    assert "[this stays](as/it.is)" in page


def test_without_an_address_there_are_no_links_and_no_pictures():
    page = index_page(PAGE, None, "1.2.3")
    assert "See guide, [paper]" in page
    assert "picture" not in page
    assert relative_links(page) == []


@pytest.mark.parametrize("source", [None, ADDRESS])
def test_the_readme_has_none_left(source):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert relative_links(readme)
    assert relative_links(index_page(readme, source, "1.2.3")) == []


@given(st.text(alphabet="[](!)`#:/ab\n ", max_size=60))
def test_no_page_keeps_a_relative_link(text):
    assert relative_links(index_page(text, ADDRESS, "1")) == []
