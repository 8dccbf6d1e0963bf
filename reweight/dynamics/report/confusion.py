"""Which class was given and which is suggested, as a heat table."""

from __future__ import annotations

from collections import Counter
from html import escape

from reweight.dynamics.label_issues import LabelIssues

MOST_CLASSES = 20
MOST_PAIRS = 20


def pairs(issues: LabelIssues) -> Counter[tuple[int, int]]:
    """Return how many issues have which given and which suggested label."""
    rows = issues.is_label_issue
    given, suggested = issues.given_label[rows].tolist(), issues.suggested_label[rows].tolist()
    found = zip(given, suggested, strict=True)
    return Counter(pair for pair in found if min(pair) >= 0 and pair[0] != pair[1])


def confusion(issues: LabelIssues) -> str:
    """Return a section, given by suggested; the commonest pairs where the classes are many."""
    found = pairs(issues)
    if not found:
        return ""
    if issues.class_names is not None:
        classes = list(range(len(issues.class_names)))
    else:
        largest = max(int(issues.given_label.max()), int(issues.suggested_label.max()))
        classes = list(range(1 + largest))
    table = _list(found, issues) if len(classes) > MOST_CLASSES else _heat(found, classes, issues)
    return (
        f"<section><h2>Given and suggested</h2><p>How many issues were given which class, and "
        f"which is likelier.</p>{table}</section>"
    )


def _heat(found: Counter[tuple[int, int]], classes: list[int], issues: LabelIssues) -> str:
    most = max(found.values())
    names = {label: escape(issues.name_of(label)) for label in classes}
    head = "".join(f'<th scope="col"><span>{names[label]}</span></th>' for label in classes)
    rows = []
    for given in classes:
        cells = []
        for suggested in classes:
            count = found[given, suggested]
            if given == suggested:
                cells.append('<td class="same"></td>')
            else:
                heat = round(100 * count / most)
                strong = ' class="strong"' if heat > 75 else ""
                cells.append(f'<td{strong} style="--heat:{heat}%">{count or ""}</td>')
        rows.append(f'<tr><th scope="row">{names[given]}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="scroll"><table class="heat" style="--classes:{len(classes)}">'
        f"<thead><tr><th>given ↓ suggested →</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _list(found: Counter[tuple[int, int]], issues: LabelIssues) -> str:
    rows = "".join(
        f"<tr><td>{escape(issues.name_of(a))}</td><td>{escape(issues.name_of(b))}</td>"
        f'<td class="number">{count}</td></tr>'
        for (a, b), count in found.most_common(MOST_PAIRS)
    )
    return (
        f'<div class="scroll"><table class="plain"><thead><tr><th>given</th><th>suggested</th>'
        f"<th>issues</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )
