"""How good the pseudo-labels truly are, for the one row that is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import problem
from examples.covid3d.measure.metrics import dice
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.scans.manifest import Entry
from examples.covid3d.scans.splits import Replicate
from examples.covid3d.scans.store import stored, stored_with_mask


def check_truth(config: Config, entries: Sequence[Entry], replicates: Sequence[Replicate]) -> None:
    """Checks that the truth is known where a row is to be told it.

    Args:
        config: Settings.
        entries: The prepared scans.
        replicates: Every seed and fold.

    Raises:
        UserError: If a row is told the truth and an unlabelled scan has no expert's mask.
    """
    told = [name for name in config.methods if name in ROWS and ROWS[name].told]
    masked = {entry.name for entry in entries if entry.has_mask}
    unlabelled = {name for replicate in replicates for name in replicate.roles["unlabelled"]}
    unknown = sorted(unlabelled - masked)
    if told and unknown:
        raise problem(
            f"--methods {','.join(told)}",
            f"{len(unknown)} of {len(unlabelled)} unlabelled scans have no expert's mask, as "
            f"{', '.join(unknown[:3])}",
            "the truth of every pseudo-label, as phantoms have it, or a CSV whose rows of the role "
            "`unlabelled` have masks: that row is told how good each is",
            f"leave {' and '.join(told)} out of --methods",
        )


def true_quality(prepared: Path, labels: Path, names: Sequence[str]) -> dict[str, float]:
    """True Dice of the pseudo-labels, by scan.

    Args:
        prepared: Folder of the prepared scans.
        labels: Folder of the pseudo-labels.
        names: Unlabelled scans that have an expert's mask.

    Returns:
        Dice on the working grid; 1 where both masks are empty.
    """
    return {
        name: dice(stored(prepared, name, labels).mask, stored_with_mask(prepared, name).mask)
        for name in names
    }
