"""The cases of the page, each with a viewer that scrolls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from examples.covid3d.measure.evaluate import entries_of
from examples.covid3d.measure.report.cases.choice import Case, choose
from examples.covid3d.measure.report.cases.slices import Slices, cut_slices
from examples.covid3d.measure.report.cases.volumes import (
    canonical,
    expert_mask,
    for_the_eye,
    turned,
)
from examples.covid3d.measure.report.headline import Headline
from examples.covid3d.measure.report.page import html
from examples.covid3d.measure.report.results import LABELS, Results
from examples.covid3d.measure.report.statistics.measured import number, rows_of
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.scans.volumes import load_scan

_MOST_ROWS = 3


def cases_section(results: Results, about: Headline) -> list[str]:
    """Best, median and worst test scan of the headline row.

    Args:
        results: What was measured.
        about: The row, and those beside it.
    """
    order = [about.method, about.control, *(m for m in about.beside if not ROWS[m].told)]
    rows = list(dict.fromkeys(m for m in order if m is not None))[:_MOST_ROWS]
    cases = [_figure(case, rows, results) for case in choose(results.metrics, about.method)]
    label = LABELS[about.method]
    return [
        html.heading("Cases"),
        html.paragraph(
            f"The best, the median and the worst test scan of {label} by Dice, of those with a "
            "lesion if there are any: picked by that rule and not by their looks. Front up, the "
            "patient's right on the left.",
            "small",
        ),
        '<p class="small hint" hidden>Scroll with the wheel, the slider or, once a case is chosen, '
        "the arrow keys.</p>",
        html.block("cases", cases),
    ]


def _figure(case: Case, rows: Sequence[str], results: Results) -> str:
    context = results.context
    (replicate,) = [
        one for one in results.replicates if (str(one.seed), str(one.fold)) == case.key[:2]
    ]
    name = case.key[2]
    source = entries_of(context, (name,))[0].scan(context.prepared)
    raw, grid = load_scan(source)
    volume, spacing = turned(raw, grid)
    masks = [turned(expert_mask(source, grid, context.config), grid)[0].astype(bool)]
    keys = [("Expert", "")]
    for method in rows:
        path = results.evaluated(replicate, method) / "predictions" / f"{name}.nii.gz"
        measured = rows_of(results.metrics, method).get(case.key)
        if measured is not None and path.is_file():
            masks.append(canonical(path) > 0)
            keys.append((LABELS[method], f"Dice {number(measured, 'dice'):.3f}"))
    slices = cut_slices(for_the_eye(volume, context.config), masks, spacing)
    several = len(results.replicates) > 1
    where = f", seed {case.key[0]}, fold {case.key[1]}" if several else ""
    return _viewer(
        f"{case.rank.capitalize()}: Dice {case.dice:.3f}", case.key[2] + where, keys, slices
    )


def _viewer(title: str, name: str, keys: Sequence[tuple[str, str]], slices: Slices) -> str:
    """A picture that stands by itself, and what the script needs to scroll it."""
    one = slices
    data = {
        "columns": one.columns, "width": one.width, "height": one.height,
        "numbers": one.numbers, "of": one.of, "start": one.start, "paths": one.paths,
    }  # fmt: skip
    rows = -(-len(one.numbers) // one.columns)
    x, y = -(one.start % one.columns) * one.width, -(one.start // one.columns) * one.height
    paths = "".join(
        f'<path class="o{i}" d="{own[one.start]}"></path>' for i, own in enumerate(one.paths)
    )
    legend = "".join(
        f'<label><input type="checkbox" checked hidden><i class="k{i}"></i>'
        f"<span>{escape(label)}{f' <small>{escape(more)}</small>' if more else ''}</span></label>"
        for i, (label, more) in enumerate(keys)
    )
    shown = f"slice {one.numbers[one.start]} of {one.of}"
    outlined = ", ".join(f"{label} {more}".strip() for label, more in keys)
    says = f"Axial {shown} of {name}, outlined: {outlined}."
    return (
        f'<figure class="case" data-slices="{escape(json.dumps(data, separators=(",", ":")))}">'
        f"<figcaption><b>{escape(title)}</b>{escape(name)}</figcaption>"
        f'<svg class="slice" viewBox="0 0 {one.width} {one.height}" role="img" '
        f'aria-label="{escape(says)}">'
        # Cut off, or a tall slice would show its neighbours in the strip beside it.
        f'<svg width="{one.width}" height="{one.height}" overflow="hidden">'
        f'<image href="data:image/webp;base64,{one.sprite}" x="{x}" y="{y}" '
        f'width="{one.columns * one.width}" height="{rows * one.height}" '
        f'preserveAspectRatio="none"></image>{paths}</svg></svg>'
        f'<div class="slider" hidden><input type="range" min="0" max="{len(one.numbers) - 1}" '
        f'value="{one.start}" aria-label="Slice of {escape(name)}"><output>{shown}</output></div>'
        f'<div class="key">{legend}</div></figure>'
    )
