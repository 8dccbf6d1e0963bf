"""Which scans are trusted: those that a file names, or so many that chance names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import problem
from examples.covid3d.scans.manifest import Entry
from examples.covid3d.scans.splits import Replicate

FEWEST = 2
"""Of trusted and of other scans: networks learn from one half of them and draw the other."""


def read_names(path: Path) -> tuple[str, ...]:
    """Names of trusted scans, one a line; empty lines are passed over.

    Raises:
        UserError: If the file cannot be read, names none, or names one twice.
    """
    expected = "a text file, UTF-8, with the name of a scan on each line"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise problem(path, f"cannot be read ({error})", expected, "check the path") from error
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise problem(path, "no names", expected, "write the names of masks that you have checked")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise problem(path, f"{_listed(twice)} more than once", expected, "name each scan once")
    _check_number(str(path), len(names))
    return tuple(names)


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _check_number(where: str, number: int) -> None:
    if number < FEWEST:
        raise problem(
            where,
            f"{number} trusted",
            f"at least {FEWEST}; 8 or more tell more",
            "check some more masks, and trust them",
        )


def check_number(number: int) -> None:
    """Refuses too few.

    Raises:
        UserError: If it is less than :data:`FEWEST`.
    """
    _check_number("--trusted", number)


def check_names(names: Sequence[str], known: Sequence[str]) -> None:
    """Refuses names that no scan with a mask has.

    Raises:
        UserError: If there is one.
    """
    unknown = [name for name in names if name not in set(known)]
    if unknown:
        raise problem(
            "--trusted-scans",
            f"no scan with a mask is called {_listed(unknown)}",
            f"names such as {_listed(sorted(known)[:3])}",
            "write names as files have them, without .nii.gz (a CSV's column name, if it has one)",
        )


def divide(entries: Sequence[Entry], config: Config) -> Replicate:
    """Says which scans are trusted, and which are to be judged by them.

    Chance takes patients in an order that the seed draws, one scan of each, those whose mask is
    empty last.

    Args:
        entries: The prepared scans; those without a mask have no part.
        config: Settings, with ``trusted`` or ``trusted_scans``.

    Raises:
        UserError: If a trusted scan was rejected, or nothing is left to be judged.
    """
    masked = sorted((entry for entry in entries if entry.has_mask), key=lambda entry: entry.name)
    names = [entry.name for entry in masked]
    chosen = set(config.trusted_scans or _drawn(masked, config))
    lost = sorted(chosen - set(names))
    if lost:
        raise problem(
            "--trusted-scans",
            f"{_listed(lost)} could not be used; see rejected.csv in the folder prepare",
            "trusted scans that can be read",
            "mend the files, or trust others",
        )
    others = tuple(name for name in names if name not in chosen)
    if min(len(others), len(chosen)) < FEWEST:
        raise problem(
            "--trusted",
            f"{len(chosen)} trusted of {len(names)} usable scans with a mask",
            f"at least {FEWEST} trusted, and {FEWEST} to be judged by them",
            "trust fewer, or give more scans",
        )
    trusted = tuple(name for name in names if name in chosen)
    roles = {"teacher": (), "trusted": trusted, "unlabelled": others, "test": ()}
    return Replicate(config.seeds[0], 1, roles, "audit")


def _drawn(entries: Sequence[Entry], config: Config) -> list[str]:
    order = np.random.default_rng([config.seeds[0], 8]).permutation(len(entries))
    shuffled = sorted((entries[i] for i in order), key=lambda entry: not entry.foreground_ml)
    seen: set[str] = set()
    first = [e for e in shuffled if not (e.patient in seen or seen.add(e.patient))]  # type: ignore[func-returns-value]
    taken = {entry.name for entry in first}
    rest = [entry for entry in shuffled if entry.name not in taken]
    return [entry.name for entry in [*first, *rest][: config.trusted]]
