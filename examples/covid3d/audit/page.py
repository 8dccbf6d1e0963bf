"""The audit as a page: one file that refers to nothing outside itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from examples.covid3d.audit.doubt import SOUND
from examples.covid3d.audit.page_scans import anchor_of, image_of, kind_of, list_of
from examples.covid3d.audit.page_style import SCRIPT, STYLE
from examples.covid3d.audit.slices import DOUBT, GIVEN, MODEL, Picture
from examples.covid3d.audit.verdict import Verdict

_OPEN = 3
_FEW = 12


@dataclass(frozen=True)
class Surroundings:
    """What the page says beside the verdict.

    Attributes:
        data: Name of the data set.
        drawn: Whether chance drew the trusted scans, so that nobody has checked them.
        rejected: What could not be used, and why.
        without_mask: How many scans have none, and no part.
        facts: Name and value of what the audit was made with.
    """

    data: str
    drawn: bool
    rejected: Sequence[tuple[str, str]] = ()
    without_mask: int = 0
    facts: Mapping[str, str] = field(default_factory=dict)


def build_page(
    verdict: Verdict,
    pictures: Mapping[str, Picture],
    thumbnails: Mapping[str, Picture],
    surroundings: Surroundings,
) -> str:
    """Writes the page.

    Args:
        verdict: All assessments.
        pictures: Pictures of some scans, by name.
        thumbnails: Small pictures of the very worst, for the first screen.
        surroundings: What else is to be said.

    Returns:
        HTML.
    """
    title = f"Which masks are wrong? {surroundings.data}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="verdict">{escape(verdict.sentence())}</p>',
        *_belief(verdict, surroundings),
        _first(verdict, thumbnails),
        "<h2>Every scan, the worst first</h2>",
        _tools(verdict),
        list_of("scans", verdict.judged, pictures, _OPEN),
        _trusted(verdict, pictures),
        _rejected(surroundings),
        _how(surroundings),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<script>{SCRIPT}</script>\n</body></html>\n"
    )


def _belief(verdict: Verdict, surroundings: Surroundings) -> list[str]:
    trusted = [one.scan for one in verdict.trusted]
    named = f": {', '.join(trusted)}" if len(trusted) <= _FEW else ""
    lines = [
        f"<p>Judged by {len(trusted)} trusted scans{escape(named)}. "
        f"{escape(' '.join(verdict.belief))}</p>"
    ]
    if surroundings.drawn:
        suspects = [one.scan for one in verdict.trusted if one.doubt != SOUND]
        text = (
            "The trusted scans were drawn by chance and nobody has vouched for them: look at them "
            "below. If one is wrong, name those that are right in a file and use --trusted-scans."
        )
        if suspects:
            text += f" In doubt themselves: {', '.join(suspects)}."
        lines.append(f'<p class="note">{escape(text)}</p>')
    return lines


def _first(verdict: Verdict, thumbnails: Mapping[str, Picture]) -> str:
    """The picture of the first screen: the worst scans, one slice of each."""
    shown = [one for one in verdict.judged if one.scan in thumbnails]
    if not shown:
        return ""
    cells = "".join(
        f'<a href="#{anchor_of(one)}">{image_of(thumbnails[one.scan])}'
        f"<b>{escape(one.scan)}</b><span>{escape(kind_of(one))}</span></a>"
        for one in shown
    )
    return f'<figure class="worst">{cells}</figure>{_key()}'


def _key() -> str:
    """What the colours of the pictures mean."""
    meanings = (
        (GIVEN, "given mask (solid line)"),
        (MODEL, "what the model would have drawn (dashed)"),
        (DOUBT, "voxels in doubt"),
    )
    spans = "".join(
        f'<span><i style="background:rgb{colour}"></i>{escape(text)}</span>'
        for colour, text in meanings
    )
    return (
        f'<p class="key small">{spans}</p><p class="small">Axial slices, front up, the patient\'s '
        "right on the left; those most in doubt.</p>"
    )


def _tools(verdict: Verdict) -> str:
    kinds = sorted({kind_of(one) for one in verdict.doubtful})
    options = "".join(f'<option value="{escape(k)}">{escape(k)}</option>' for k in kinds)
    return (
        '<div class="tools"><label>Search by name<input id="search" type="search"></label>'
        '<label>Doubt<select id="kind"><option value="">any, or none</option>'
        f'<option value="*">any doubt</option>{options}</select></label>'
        '<label>Order<select id="order"><option value="worst">worst first</option>'
        '<option value="best">best first</option><option value="name">by name</option></select>'
        '</label></div><p class="small screen" id="count" aria-live="polite"></p>'
    )


def _trusted(verdict: Verdict, pictures: Mapping[str, Picture]) -> str:
    return (
        f"<h2>The {len(verdict.trusted)} trusted scans</h2>"
        '<p class="small">Their masks were taken for right; the quality is what the same judge '
        "says of each by the others.</p>" + list_of("trusted", verdict.trusted, pictures, 0)
    )


def _rejected(surroundings: Surroundings) -> str:
    rejected = surroundings.rejected
    words = []
    if surroundings.without_mask:
        bare = surroundings.without_mask
        counted = "1 scan has" if bare == 1 else f"{bare} scans have"
        words.append(f"<p>{counted} no mask, and no part in this.</p>")
    if rejected:
        items = "".join(
            f"<li><span class=name>{escape(where)}</span>: {escape(reason)}</li>"
            for where, reason in rejected
        )
        words.append(
            f"<details><summary>{len(rejected)} could not be used</summary><ul>{items}</ul>"
            "</details>"
        )
    return f"<h2>Left out</h2>{''.join(words)}" if words else ""


def _how(surroundings: Surroundings) -> str:
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in surroundings.facts.items()
    )
    return (
        "<h2>How it was made</h2><p>Two networks learnt, each from half of the masks, and drew "
        "the other half; a mask is judged by how far it is from theirs, where the trusted scans "
        "tell what is far. A doubt is a reason to look, not a proof. "
        "All numbers of all scans are in <code>audit.csv</code>, beside this page.</p>"
        f'<dl class="parts">{facts}</dl>'
    )
