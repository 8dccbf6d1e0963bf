"""The README as a package index can show it: no link there may lead into folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# An inline link or picture of Markdown; its text holds no bracket.
_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"^(```|~~~)")
_ELSEWHERE = re.compile(r"^([a-z][a-z0-9+.-]*:|#)", re.IGNORECASE)


def index_page(readme: str, source: str | None, version: str) -> str:
    """Return ``readme`` with every relative link made absolute, or taken out.

    Args:
        readme: Markdown.
        source: Address of the repository, as ``https://host/owner/name``. Without one a link into
            it becomes its text, and a picture is left out: better none than a broken one.
        version: What is released; links lead to its tag.
    """

    def replaced(found: re.Match[str]) -> str:
        picture, text, target = found["picture"], found["text"], found["target"]
        if _ELSEWHERE.match(target):
            return found[0]
        if source is None:
            return "" if picture else text
        what = "raw" if picture else "blob"
        return f"{picture}[{text}]({source.rstrip('/')}/{what}/v{version}/{target})"

    return "".join(_outside_of_code(readme, lambda line: _LINK.sub(replaced, line)))


def relative_links(readme: str) -> list[str]:
    """Return the targets that an index cannot follow, in order."""
    found: list[str] = []

    def note(line: str) -> str:
        targets = (link["target"] for link in _LINK.finditer(line))
        found.extend(target for target in targets if not _ELSEWHERE.match(target))
        return line

    list(_outside_of_code(readme, note))
    return found


def _outside_of_code(text: str, change: Callable[[str], str]) -> Iterator[str]:
    inside = False
    for line in text.splitlines(keepends=True):
        if _FENCE.match(line):
            inside = not inside
        yield line if inside else change(line)
