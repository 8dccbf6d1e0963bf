"""A small HTML writer: tables, pictures inside the file, nothing from outside."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

_HERE = Path(__file__).parent


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; ``kind`` is a class of the style sheet."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def heading(text: str) -> str:
    """A section heading."""
    return f"<h2>{escape(text)}</h2>"


def bullets(lines: Sequence[str]) -> str:
    """A list of sentences."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Questions, each with its answer."""
    inside = "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in pairs)
    return f"<dl>{inside}</dl>"


def block(kind: str, parts: Sequence[str]) -> str:
    """Parts of the page laid out as a class of the style sheet says."""
    return f'<div class="{kind}">' + "\n".join(parts) + "</div>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table; all but its first column are right-aligned, unless ``kind`` is "text"."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def picture(path: Path, caption: str, alternative: str) -> str:
    """A picture inside the page, with its caption and a text for those who do not see it.

    As WebP, which is a fifth of a PNG where there are scans in it.
    """
    packed = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(packed, "WEBP", quality=80, method=4)
        width, height = image.size
    data = base64.b64encode(packed.getvalue()).decode("ascii")
    return (
        f'<figure><img alt="{escape(alternative)}" width="{width}" height="{height}" '
        f'src="data:image/webp;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def page(title: str, parts: Sequence[str]) -> str:
    """A whole document that refers to nothing outside itself."""
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    script = (_HERE / "viewer.js").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style></head>\n<body><main>"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(parts) + f"\n</main>\n<script>\n{script}</script>"
        "</body></html>\n"
    )
