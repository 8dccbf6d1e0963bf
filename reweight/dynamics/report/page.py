"""The page of a report."""

from __future__ import annotations

from html import escape
from typing import Any

from reweight.dynamics.label_issues import LabelIssues
from reweight.dynamics.report.confusion import confusion, pairs
from reweight.dynamics.report.gallery import gallery
from reweight.dynamics.report.histogram import histogram
from reweight.dynamics.report.style import STYLE

_NOTHING_FROM_OUTSIDE = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(issues: LabelIssues, *, images: Any, texts: Any, title: str, worst: int) -> str:
    """Return the HTML."""
    body = "".join(
        [
            _headline(issues, title),
            gallery(issues, images, texts, worst),
            _charts(issues),
            confusion(issues),
            _how_to_read(),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_NOTHING_FROM_OUTSIDE}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _headline(issues: LabelIssues, title: str) -> str:
    unseen, flagged = issues.num_unseen, issues.num_issues
    judged = int((~issues.label_quality.isnan()).sum())
    verb = "looks" if flagged == 1 else "look"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="headline"><strong>{flagged:,}</strong> of {judged:,} labels {verb} wrong '
        f"<span>({flagged / max(judged, 1):.1%})</span></p>",
    ]
    facts = []
    common = pairs(issues).most_common(1)
    if common:
        (given, suggested), count = common[0]
        facts.append(
            f"Most often <b>{escape(issues.name_of(given))}</b> was given where "
            f"<b>{escape(issues.name_of(suggested))}</b> is likelier: {count:,} "
            f"{'time' if count == 1 else 'times'}."
        )
    if unseen:
        facts.append(
            f"{unseen:,} {'id was' if unseen == 1 else 'ids were'} never seen in the training and "
            f"{'is' if unseen == 1 else 'are'} not judged."
        )
    if facts:
        parts.append(f'<p class="facts-line">{" ".join(facts)}</p>')
    return f"<header>{''.join(parts)}</header>"


def _charts(issues: LabelIssues) -> str:
    flagged = issues.is_label_issue
    charts = "".join(
        histogram(values, flagged, name, note, ends)
        for values, name, note, ends in (
            (issues.label_quality, "Label quality", "below 0.5 for issues", (0.0, 1.0)),
            (issues.parts["mean_margin"], "Mean margin", "given class over the next", None),
            (issues.parts["mean_loss"], "Mean loss", "over the training", None),
        )
    )
    return (
        '<section><h2>Issues and the others</h2><p class="legend"><span class="key issue"></span>'
        'issues <span class="key other"></span>others <small>the first and last bar hold what '
        f'lies beyond</small></p><div class="charts">{charts}</div></section>'
        if charts
        else ""
    )


def _how_to_read() -> str:
    return (
        "<footer><p>Quality compares, over the whole training, the probability of the class given "
        "with that of the likeliest other (or goes by the loss, where classes are not known). "
        "1 is a label that the training agreed with throughout; below 0.5 are the issues. Rare "
        "and hard samples may be among them: look before you relabel.</p>"
        "<p>Written by reweight.</p></footer>"
    )
