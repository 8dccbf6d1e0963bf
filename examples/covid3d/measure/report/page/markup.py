"""A table that can be written as HTML, Markdown and CSV."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

_SHORT = 20
_MARKDOWN = re.compile(r"([\\|*_`<])")


@dataclass(frozen=True)
class Entry:
    """One cell.

    Attributes:
        text: What is printed.
        best: Whether it is the best of its column: bold in HTML and Markdown.
        number: The number behind the text, unrounded, for the CSV; None for words.
        spread: Its standard deviation, unrounded; None where there is none.
        quartiles: Around a median, unrounded; printed small below it.
        digits: That the quartiles are printed with.
    """

    text: str
    best: bool = False
    number: float | None = None
    spread: float | None = None
    quartiles: tuple[float, float] | None = None
    digits: int = 3

    @property
    def detail(self) -> str:
        """The quartiles in print; empty without them."""
        if self.quartiles is None:
            return ""
        return " to ".join(f"{end:.{self.digits}f}" for end in self.quartiles)


@dataclass(frozen=True)
class Table:
    """A titled table.

    Attributes:
        title: What it shows.
        header: Names of the columns, all different.
        rows: Cells, a row as long as the header.
        note: What a reader must know to read it; may be empty.
        grouped: Whether a first cell equal to the one above stays blank in HTML and Markdown.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    note: str = ""
    grouped: bool = False

    def __post_init__(self) -> None:
        if len(set(self.header)) < len(self.header):
            raise ValueError(f"two columns of the same name in {self.header}")
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"a row of {len(row)} cells under {len(self.header)} columns")

    def to_html(self) -> str:
        """As a ``table`` element with its caption, and the note below it."""
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.header)
        body = "".join(
            "<tr>" + "".join(f"<td>{_html(cell)}</td>" for cell in row) + "</tr>"
            for row in self._printed()
        )
        kind = "grouped" if self.grouped else ""
        # On paper a short table stays in one piece.
        short = " short" if len(self.rows) <= _SHORT else ""
        note = f'<p class="small">{escape(self.note)}</p>' if self.note else ""
        return (
            f'<div class="scroll{short}"><table class="{kind}">'
            f"<caption><span>{escape(self.title)}</span></caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}"
        )

    def to_markdown(self) -> str:
        """As a pipe table; the title in bold above it, the note below."""
        lines = [f"**{_markdown(self.title)}**", ""]
        lines.append(_line(_markdown(name) for name in self.header))
        lines.append(_line(":---" if i == 0 else "---:" for i in range(len(self.header))))
        lines += [_line(_in_markdown(cell) for cell in row) for row in self._printed()]
        if self.note:
            lines += ["", _markdown(self.note)]
        return "\n".join(lines) + "\n"

    def to_csv_rows(self) -> list[dict[str, str]]:
        """As rows by column name, for :func:`examples.covid3d.common.files.write_csv`.

        A column that holds numbers holds them unrounded, words as they are, and one in which some
        number has a spread or quartiles is followed by "NAME, std" or "NAME, q1" and "NAME, q3".
        """
        spread, quartiles = (
            {
                name
                for index, name in enumerate(self.header)
                if any(getattr(row[index], kind) is not None for row in self.rows)
            }
            for kind in ("spread", "quartiles")
        )
        found = []
        for row in self.rows:
            line: dict[str, str] = {}
            for name, cell in zip(self.header, row, strict=True):
                line[name] = cell.text if cell.number is None else repr(float(cell.number))
                if name in spread:
                    line[f"{name}, std"] = "" if cell.spread is None else repr(float(cell.spread))
                if name in quartiles:
                    for which, end in zip(("q1", "q3"), cell.quartiles or ("", ""), strict=True):
                        line[f"{name}, {which}"] = repr(end) if end != "" else ""
            found.append(line)
        return found

    def _printed(self) -> Iterator[tuple[Entry, ...]]:
        above = None
        for row in self.rows:
            same = self.grouped and above is not None and row[0].text == above
            yield (Entry(""), *row[1:]) if same else row
            above = row[0].text


def _html(cell: Entry) -> str:
    text = f"<strong>{escape(cell.text)}</strong>" if cell.best else escape(cell.text)
    return f"{text}<small>{escape(cell.detail)}</small>" if cell.detail else text


def _in_markdown(cell: Entry) -> str:
    text = f"**{_markdown(cell.text)}**" if cell.best else _markdown(cell.text)
    return f"{text} ({_markdown(cell.detail)})" if cell.detail else text


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _line(cells: Iterator[str]) -> str:
    return "| " + " | ".join(cells) + " |"
