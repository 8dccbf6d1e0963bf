"""Who was trusted, and rightly? Weight of each unlabelled scan against its label's true Dice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from examples.covid3d.measure.report.weights import GOOD

Rows = Sequence[Mapping[str, str]]

FEWEST_SCANS = 3
"""Good and bad scans from which the share of pairs has an interval, and a correlation is given."""

_RESAMPLES = 2000
_WORK = 400_000
_LEVEL = 1e-6


@dataclass(frozen=True)
class ScanTrust:
    """How much one unlabelled scan counted in one training.

    Attributes:
        replicate: Seed and fold.
        scan: Name.
        weight: Mean weight of its patches over the training, in units of the mean over all scans
            of that training: 1 is as much as the average.
        dice: True Dice of its pseudo-label; None where no expert marked it.
    """

    replicate: tuple[str, str]
    scan: str
    weight: float
    dice: float | None


@dataclass(frozen=True)
class Ranking:
    """Whether the better pseudo-labels had more weight.

    Attributes:
        scans: How many scans with a known truth, whatever the number of seeds.
        good: Scans with a true Dice of at least :data:`GOOD` in some training.
        bad: Those below it in some training.
        auroc: Of all pairs of a good and a bad scan of one training, the share in which the good
            one has more weight, ties counting half; None without a pair. Chance is a half.
        interval: Its 95 % interval, scans drawn with replacement; None with few good or bad ones,
            and where every pair is won or every pair is lost, which drawing again never changes.
        chance: In that last case, how probable it is under chance, either way; else None.
        correlation: Spearman's, of weight and Dice, each a scan's mean over trainings; None where
            it is not defined.
        correlation_interval: Its 95 % interval, likewise; None with fewer than six scans.
    """

    scans: int
    good: int
    bad: int
    auroc: float | None
    interval: tuple[float, float] | None
    chance: float | None
    correlation: float | None
    correlation_interval: tuple[float, float] | None


def trust_in(samples: Rows, pseudo_labels: Rows) -> list[ScanTrust]:
    """Each unlabelled scan's share of the weight.

    Args:
        samples: Rows of ``samples.csv``.
        pseudo_labels: Rows of ``pseudo_labels.csv``.

    Returns:
        By training and scan; empty if no training gave weights that differ.
    """
    truth = {
        (row["seed"], row["fold"], row["scan"]): float(row["dice"])
        for row in pseudo_labels
        if row["dice"] != ""
    }
    weights: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in samples:
        of = weights.setdefault((row["seed"], row["fold"]), {})
        of.setdefault(row["scan"], []).append(float(row["weight"]))
    found: list[ScanTrust] = []
    differ = False
    for replicate, scans in sorted(weights.items()):
        every = [weight for own in scans.values() for weight in own]
        mean = float(np.mean(every))
        differ |= float(np.ptp(every)) > _LEVEL * max(mean, _LEVEL)
        if mean > 0:
            found += [
                ScanTrust(
                    replicate, scan, float(np.mean(own)) / mean, truth.get((*replicate, scan))
                )
                for scan, own in sorted(scans.items())
            ]
    return found if differ else []


def ranking(trusts: Sequence[ScanTrust]) -> Ranking | None:
    """Judges the weights of scans by the truth; None where none is known."""
    known = [trust for trust in trusts if trust.dice is not None]
    if not known:
        return None
    names = sorted({trust.scan for trust in known})
    index = {name: i for i, name in enumerate(names)}
    wins, pairs = np.zeros((2, len(names), len(names)))
    for replicate in sorted({trust.replicate for trust in known}):
        own = [trust for trust in known if trust.replicate == replicate]
        (good, above), (bad, below) = (
            (
                [index[trust.scan] for trust in own if _is_good(trust) is wanted],
                np.array([trust.weight for trust in own if _is_good(trust) is wanted]),
            )
            for wanted in (True, False)
        )
        at = np.ix_(good, bad)
        pairs[at] += 1
        wins[at] += 0.5 + 0.5 * np.sign((above[:, None] - below).round(9))
    good_scans = {trust.scan for trust in known if _is_good(trust)}
    bad_scans = {trust.scan for trust in known if not _is_good(trust)}
    enough = min(len(good_scans), len(bad_scans)) >= FEWEST_SCANS
    auroc = float(wins.sum() / pairs.sum()) if pairs.any() else None
    perfect = auroc in (0.0, 1.0)
    # A scan that is good in one training and bad in another is on neither side.
    sides = len(good_scans - bad_scans), len(bad_scans - good_scans)
    return Ranking(
        len(names),
        len(good_scans),
        len(bad_scans),
        auroc,
        _bootstrap(wins, pairs) if enough and auroc is not None and not perfect else None,
        min(1.0, 2 / math.comb(sum(sides), sides[0])) if perfect else None,
        *_correlation(known, names),
    )


def _is_good(trust: ScanTrust) -> bool:
    return trust.dice is not None and trust.dice >= GOOD


def _correlation(
    known: Sequence[ScanTrust], names: Sequence[str]
) -> tuple[float | None, tuple[float, float] | None]:
    own: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for trust in known:
        own[trust.scan].append((trust.weight, trust.dice or 0.0))
    weight, dice = np.array([np.mean(pairs, axis=0) for pairs in own.values()]).T
    if len(names) < FEWEST_SCANS or np.ptp(weight) == 0 or np.ptp(dice) == 0:
        return None, None
    value = float(stats.spearmanr(weight, dice).statistic)
    if len(names) < 2 * FEWEST_SCANS:
        return value, None
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(names), size=(_RESAMPLES // 4, len(names)))
    ranks = [stats.rankdata(v[drawn], axis=1) for v in (weight, dice)]
    a, b = (r - r.mean(1, keepdims=True) for r in ranks)
    scale = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    values = (a * b).sum(1)[scale > 0] / scale[scale > 0]
    low, high = np.percentile(values, (2.5, 97.5))
    return value, (float(low), float(high))


def _bootstrap(wins: NDArray[np.float64], pairs: NDArray[np.float64]) -> tuple[float, float] | None:
    rng = np.random.default_rng(0)
    shares = []
    # Over many scans the ends are sharp with fewer, and a product of matrices is dear.
    resamples = int(np.clip(_WORK // len(wins), 200, _RESAMPLES))
    for _ in range(resamples):
        drawn = np.bincount(rng.integers(len(wins), size=len(wins)), minlength=len(wins))
        total = drawn @ pairs @ drawn
        if total:
            shares.append(drawn @ wins @ drawn / total)
    if len(shares) < resamples / 2:
        return None
    low, high = np.percentile(shares, (2.5, 97.5))
    return float(low), float(high)
