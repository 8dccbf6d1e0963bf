"""Scans on the audit's page: a line for each, and what unfolds beneath it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from html import escape

from examples.covid3d.audit.doubt import SOUND
from examples.covid3d.audit.quality import Assessment
from examples.covid3d.audit.slices import Picture


def list_of(
    name: str, assessments: Sequence[Assessment], pictures: Mapping[str, Picture], opened: int
) -> str:
    """A list of scans, a line for each; those with a picture unfold.

    Args:
        name: The list's id.
        assessments: The scans, in order.
        pictures: Pictures of some of them, by name.
        opened: How many are unfolded to begin with.
    """
    lines = []
    for place, one in enumerate(assessments):
        doubt = kind_of(one) if one.doubt != SOUND else ""
        if one.scan in pictures:
            state = " open" if place < opened else ""
            content = (
                f"<details{state}><summary>{_line(one)}</summary>"
                f'<div class="more"><figure>{image_of(pictures[one.scan])}</figure>'
                f"{_parts(one)}</div></details>"
            )
        else:
            content = f'<div class="bare">{_line(one)}</div>'
        lines.append(
            f'<li id="{anchor_of(one)}" data-name="{escape(one.scan)}" '
            f'data-doubt="{escape(doubt)}">{content}</li>'
        )
    return f'<ol class="scans" id="{name}">{"".join(lines)}</ol>'


def kind_of(one: Assessment) -> str:
    """The doubt in a word or two."""
    return {"another": "another patient's", SOUND: "no doubt"}.get(one.doubt, one.doubt)


def anchor_of(one: Assessment) -> str:
    """An address within the page, which a name as it is cannot be."""
    return f"scan-{hashlib.sha256(one.scan.encode(errors='surrogatepass')).hexdigest()[:12]}"


def image_of(picture: Picture) -> str:
    """A picture with its words."""
    return (
        f'<img alt="{escape(picture.alternative)}" width="{picture.width}" '
        f'height="{picture.height}" src="{picture.address}">'
    )


def _sentence(words: str) -> str:
    """Words with a capital and a full stop."""
    return words[:1].upper() + words[1:] + ("" if words.endswith(("?", ".")) else ".")


def _line(one: Assessment) -> str:
    kind = "sound" if one.doubt == SOUND else "doubt"
    return (
        f'<span class="line"><span class="name">{escape(one.scan)}</span>'
        f'<span class="quality"><meter min="0" max="1" value="{one.quality:.3f}" '
        f'aria-label="quality"></meter>{one.quality:.2f}</span>'
        f'<span class="{kind}">{escape(kind_of(one))}</span></span>'
    )


def _parts(one: Assessment) -> str:
    rows = "".join(
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{_shown(value)}</dd></div>"
        for name, value in one.parts.to_row().items()
        if not math.isnan(value)
    )
    return f'<p>{escape(_sentence(one.words))}</p><dl class="parts">{rows}</dl>'


def _shown(value: float) -> str:
    """A number for the eye."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
