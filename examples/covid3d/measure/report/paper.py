"""What Hussain et al. print in Tables 2, 3 and 4, to stand beside our own numbers.

Every number is copied as printed. They are of the authors' data, one of the databases is private,
and their runs are not ours: the columns are to be read side by side, not subtracted.

What the tables themselves show:

- An average ± std is the mean of the folds' means ± the mean of the folds' stds, often cut and not
  rounded (Table 2, fully supervised Dice: the folds' stds have the mean 0.2288, printed 0.228).
  Our average is that of all test scans, and its std that over all of them.
- The p-values of Table 2 are those of an unpaired two-sample t-test on the printed averages and
  stds with 796 = 4 × 199 volumes on either side. So the four flips of a scan count as four
  patients, and that both methods saw the same scans is not used. With 199 they would be 0.13,
  0.16, 0.29, 0.52 and 0.82. The text calls it a test of the "5-fold mean Dice scores"; on five
  fold means the two-sample test gives 0.11 for the fully supervised row, not 0.0027.

Slips:

- Table 3, RGS&M+AL, HD: the folds' mean is 44.13; 43.91 is printed. With 44.13 it is not "the best
  among all": fully supervised (44.09) and RGS+AL (44.10) are lower. See :data:`INCONSISTENT`.
- Table 3, RGS, fold 2: the Dice std 0.010 is a tenth of the other rows' (0.089 to 0.113). It may
  stand for 0.100; the averages of Tables 3 and 4 (0.065, 0.06517) were computed with 0.010.
- Table 3 cuts what Table 4 prints with four digits: 0.7307 became 0.730, 0.7548 0.754, and 0.0848
  0.084. One std of Table 4, 0.06517, has five digits.
- RGS&M+AL against the fully supervised network has p = 0.0021 in the text on Table 3 and 0.0001 in
  that on Table 4: the same two rows. That on Table 3 speaks of 5 folds; it has 4.
- The text says that RGS+AL beats RGS in Dice in all folds but the fourth; in fold 3 both are 0.741.
- The caption of Table 2 explains RGS+AL, a row it does not have, and "finally, we see in Table 3"
  ends the discussion of Table 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Printed:
    """One number of the paper: mean and, where given, standard deviation, as printed."""

    mean: str
    std: str | None

    @property
    def text(self) -> str:
        """Mean ± std, as printed."""
        return self.mean if self.std is None else f"{self.mean} ± {self.std}"

    @property
    def value(self) -> float:
        """The mean as a number."""
        return float(self.mean)

    @property
    def spread(self) -> float | None:
        """The standard deviation as a number."""
        return None if self.std is None else float(self.std)


@dataclass(frozen=True)
class PaperMetric:
    """A line of Table 2 or 3: one method, one metric; a number per fold and their average."""

    folds: tuple[Printed, ...]
    average: Printed


@dataclass(frozen=True)
class PaperRow:
    """A line of Table 4: kind of method, the name the paper gives it, and its mean Dice."""

    kind: str
    name: str
    dice: Printed


PaperTable = Mapping[str, Mapping[str, PaperMetric]]
"""Lines by method and metric ("dice" or "hd_mm", mm)."""


def _printed(text: str) -> Printed:
    mean, _, std = text.partition("±")
    return Printed(mean, std or None)


def _line(text: str) -> PaperMetric:
    *folds, average = (_printed(part) for part in text.split())
    return PaperMetric(tuple(folds), average)


def _table(lines: Mapping[str, tuple[str, str]]) -> PaperTable:
    return {
        method: {"dice": _line(dice), "hd_mm": _line(hd)} for method, (dice, hd) in lines.items()
    }


TABLE2: PaperTable = _table(
    {
        "supervised": (
            "0.573±0.240 0.565±0.236 0.589±0.225 0.642±0.214 0.573±0.229 0.588±0.228",
            "35.68±10.27 37.50±09.54 34.71±10.50 32.80±13.28 34.41±11.23 35.02±10.96",
        ),
        "semi-supervised": (
            "0.574±0.228 0.577±0.256 0.588±0.223 0.637±0.211 0.576±0.220 0.590±0.227",
            "35.50±09.13 35.05±10.45 38.59±11.66 33.21±11.13 33.58±11.20 35.18±10.71",
        ),
        "rgs": (
            "0.588±0.215 0.583±0.231 0.592±0.217 0.644±0.220 0.583±0.214 0.598±0.219",
            "37.52±09.51 36.06±08.61 35.13±11.99 33.58±10.64 34.26±11.35 35.31±10.42",
        ),
        "rgm": (
            "0.592±0.228 0.583±0.243 0.626±0.208 0.657±0.198 0.577±0.226 0.607±0.221",
            "33.59±10.33 34.85±11.71 36.85±11.72 33.86±10.73 37.22±09.66 35.27±10.83",
        ),
        "rgsm": (
            "0.593±0.224 0.604±0.232 0.622±0.203 0.660±0.203 0.599±0.217 0.616±0.216",
            "34.06±09.06 36.06±09.18 35.54±12.71 32.37±12.56 36.19±10.63 34.84±10.82",
        ),
        "rgsm-al": (
            "0.600±0.224 0.613±0.222 0.631±0.197 0.661±0.200 0.600±0.210 0.621±0.211",
            "32.33±11.55 33.28±10.23 34.37±12.39 34.91±10.34 37.36±11.12 34.45±11.12",
        ),
    }
)
"""Challenge data, 5 folds (199 scans, each with its flips)."""

TABLE3: PaperTable = _table(
    {
        "supervised": (
            "0.751±0.075 0.696±0.113 0.705±0.038 0.768±0.038 0.730±0.066",
            "39.78±10.71 49.97±05.53 45.51±06.20 41.10±04.75 44.08±06.79",
        ),
        "rgs": (
            "0.755±0.126 0.708±0.010 0.741±0.084 0.814±0.040 0.754±0.065",
            "39.31±11.64 50.67±06.23 46.88±09.26 41.19±05.71 44.51±08.21",
        ),
        "rgs-al": (
            "0.758±0.119 0.711±0.099 0.741±0.082 0.814±0.038 0.756±0.084",
            "39.45±11.40 50.41±06.63 45.85±08.99 40.68±04.89 44.09±07.97",
        ),
        "rgsm-al": (
            "0.767±0.065 0.727±0.089 0.744±0.079 0.815±0.042 0.763±0.068",
            "39.26±11.24 50.07±06.60 44.95±09.26 42.25±04.85 43.91±07.98",
        ),
    }
)
"""Benchmark data, 4 folds (16 scans, each with its flips; 4 more trained the teacher)."""

_FULL, _SEMI, _ACTIVE = (
    "Fully supervised",
    "Semi-supervised",
    "Active learning from noisy teacher",
)

TABLE4: Mapping[str, PaperRow] = {
    "nnunet": PaperRow(_FULL, "Isensee et al. (2019)", Printed("0.6728", "0.2220")),
    "supervised": PaperRow(_FULL, "Our 3D UNet", Printed("0.7307", "0.0660")),
    "self-training": PaperRow(_SEMI, "Chen et al. (2020)", Printed("0.6759", "0.2230")),
    "ua-mt": PaperRow(_SEMI, "Yu et al. (2019)", Printed("0.6962", "0.2030")),
    "active-contour": PaperRow(_SEMI, "Ma et al. (2020a)", Printed("0.7225", "0.1989")),
    "semi-supervised": PaperRow(_SEMI, "Fan et al. (2020)", Printed("0.5970", None)),
    "rgs": PaperRow(_SEMI, "Proposed RGS", Printed("0.7548", "0.06517")),
    "rgs-al": PaperRow(_ACTIVE, "Proposed RGS+AL", Printed("0.7562", "0.0848")),
    "rgsm-al": PaperRow(_ACTIVE, "Proposed RGS&M+AL", Printed("0.7635", "0.0687")),
}
"""Benchmark data, Dice; the competitors' as reported by Ma et al. (2020a) and Fan et al. (2020)."""

P_VALUES: Mapping[int, Mapping[str, str]] = {
    2: {
        "supervised": "0.0027",
        "semi-supervised": "0.0048",
        "rgs": "0.0330",
        "rgm": "0.1963",
        "rgsm": "0.6404",
    },
    3: {"supervised": "0.0021", "rgs": "0.3399", "rgs-al": "0.5180"},
    4: {
        "nnunet": "0.0002",
        "supervised": "0.0001",
        "self-training": "0.0003",
        "ua-mt": "0.0023",
        "active-contour": "0.0567",
        "semi-supervised": "3.86e-36",
    },
}
"""By table: p of RGS&M+AL's Dice against each method's, "two-sample t-test", as printed."""

INCONSISTENT: tuple[tuple[int, str, str], ...] = ((3, "rgsm-al", "hd_mm"),)
"""(table, method, metric) whose printed average is not that of its folds, even if cut."""
