"""The worst samples, as pictures, as text, or as a table."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from torch import Tensor

from reweight.dynamics.label_issues import LabelIssue, LabelIssues
from reweight.dynamics.report.pictures import pixels
from reweight.dynamics.report.png import data_uri

LONGEST_TEXT = 600


def gallery(issues: LabelIssues, images: Any, texts: Any, worst: int) -> str:
    """Return a section with the worst samples, or ``""`` if there is none."""
    judged = min(worst, int((~issues.label_quality.isnan()).sum()))
    flagged = issues.num_issues
    rows = list(issues[: min(judged, flagged) if flagged else judged])
    if not rows:
        return ""
    pictures = [None if images is None else pixels(_of(images, row.id)) for row in rows]
    cards = "".join(
        _card(row, issues, picture, texts) for row, picture in zip(rows, pictures, strict=True)
    )
    if not flagged:
        heading, more = "Lowest quality", "None of them is an issue."
    elif len(rows) < flagged:
        heading, more = "Worst labels", f"The first {len(rows)} of {flagged:,} issues."
    else:
        heading, more = "Worst labels", "All issues."
    if texts is not None:
        kind = "texts"
    elif any(picture is not None and _is_wide(picture) for picture in pictures):
        kind = "wide"
    else:
        kind = "pictures"
    return (
        f'<section><h2>{heading}</h2><p>{more}</p><div class="gallery {kind}">{cards}</div>'
        f"</section>"
    )


def _card(row: LabelIssue, issues: LabelIssues, picture: Tensor | None, texts: Any) -> str:
    seen = int(row.parts["times_seen"])
    shown = ""
    if picture is not None:
        height, width = picture.shape[:2]
        shown += (
            f'<img src="{data_uri(picture)}" width="{width}" height="{height}" '
            f'alt="sample {row.id}">'
        )
    if texts is not None:
        text = str(_of(texts, row.id))
        cut = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT].rstrip() + " …"
        shown += f'<p class="text">{escape(cut)}</p>'
    given = escape(issues.name_of(row.given_label))
    labels = f'<span class="given">{given}</span>'
    if row.suggested_label not in (-1, row.given_label):
        suggested = escape(issues.name_of(row.suggested_label))
        labels += f'<span class="suggested"><i>→</i> {suggested}</span>'
    facts = (("id", str(row.id)), ("quality", f"{row.label_quality:.3f}"), ("seen", f"{seen:,}×"))
    lines = "".join(f"<span>{name}</span><span>{value}</span>" for name, value in facts)
    return f'<article>{shown}<p class="labels">{labels}</p><p class="facts">{lines}</p></article>'


def _is_wide(picture: Tensor) -> bool:
    return picture.shape[1] > 1.8 * picture.shape[0]


def _of(source: Any, number: int) -> Any:
    """Return what ``source`` holds of an id; of a tuple or dict, the first."""
    found = source[number] if hasattr(source, "__getitem__") else source(number)
    if isinstance(found, Mapping):
        return next(iter(found.values()))
    return found[0] if isinstance(found, tuple | list) else found
