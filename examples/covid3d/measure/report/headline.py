"""Which row the report is about, what it is compared with, and which others stand beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from examples.covid3d.measure.report.results import Results
from examples.covid3d.measure.report.statistics.paired import unpaired
from examples.covid3d.measure.report.trust import ScanTrust, trust_in
from examples.covid3d.methods.rows import ROWS

PAPER = "rgsm-al"
"""The paper's method."""

# Named before anything was measured: a row chosen for its result would win by chance alone.
_HEADLINES = ("best-remembering", PAPER)
# The first that was run: what is trained alike but for the weights. A method that trains on the
# trusted scans too is compared with equal weights that do.
_CONTROLS = ("equal-trusted", "equal", "random")


@dataclass(frozen=True)
class Headline:
    """What the first screen is about.

    Attributes:
        method: The row.
        trusts: How much it trusted each unlabelled scan; empty if it gave no weights.
        control: The row it has to beat; None if none was tested alike.
        beside: Those two with the teacher, the paper's method and the oracle, as far as they
            were tested, in the order of the tables.
    """

    method: str
    trusts: Sequence[ScanTrust]
    control: str | None
    beside: tuple[str, ...]


def headline(results: Results) -> Headline:
    """Finds the row that the report is about.

    That is the first of a list that was made beforehand; else, of the rows that weigh samples and
    are neither a control nor told the truth, the last of the tables; else the last row that is no
    control; else the last.
    """
    weighed: Mapping[str, Sequence[ScanTrust]] = {
        method: trust_in(results.samples(method), results.pseudo_labels)
        for method in results.methods
    }
    tried = [m for m in results.methods if not ROWS[m].told and ROWS[m].family != "Control"]
    weighing = [m for m in tried if weighed[m]]
    named = [m for m in _HEADLINES if m in results.methods]
    method = (named[:1] or weighing[-1:] or tried[-1:] or results.methods[-1:])[0]
    control = _control(results, method)
    teacher = [m for m in results.methods if ROWS[m].recipe is None and not ROWS[m].external]
    told = [m for m in results.methods if ROWS[m].told]
    chosen = {method, control, PAPER, *teacher, *told}
    beside = tuple(m for m in results.methods if m in chosen)
    return Headline(method, weighed[method], control, beside)


def _control(results: Results, method: str) -> str | None:
    names = [m for m in _CONTROLS if m in results.methods and m != method]
    if method == PAPER:
        # It never trains on the trusted scans.
        names.sort(key=lambda name: name == "equal-trusted")
    if not names:
        names = [
            m
            for m in results.methods
            if m != method and ROWS[m].recipe is None and not ROWS[m].external
        ]
    alike = [m for m in names if unpaired(results.metrics, method, m) is None]
    return alike[0] if alike else None
