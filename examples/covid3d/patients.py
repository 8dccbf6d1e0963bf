"""Which patient a scan belongs to, and splits that keep a patient in one part."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from examples.covid3d.errors import problem

ROLES = ("teacher", "trusted", "unlabelled", "test")
"""What a scan is for, in the order in which the splits give the counts."""

_RADIOPAEDIA = re.compile(r"(radiopaedia_\d+_\d+)_\d+")


def patient_of(name: str) -> str:
    """Patient of a scan of the COVID-19-CT-Seg Benchmark.

    ``radiopaedia_10_85902_1`` and ``_3`` are two series of case 10, study 85902: one patient. A
    ``coronacases`` scan, or one named in any other way, is a patient of its own.
    """
    match = _RADIOPAEDIA.fullmatch(name)
    return match.group(1) if match else name


def split_by_patient(
    names: Sequence[str], shares: Sequence[float], seed: int, roles: Sequence[str] = ROLES
) -> dict[str, str]:
    """Deals patients out to roles at random, so that no patient has two roles.

    Args:
        names: Scan names.
        shares: Share of the patients for each role; they are made to sum to one. A role with a
            share above zero gets at least one patient.
        seed: Seed of the shuffle.
        roles: Names of the roles.

    Returns:
        The role of each scan, by name.

    Raises:
        UserError: If there are fewer patients than roles.
    """
    patients = sorted({patient_of(name) for name in names})
    wanted = np.asarray(shares, dtype=float) / sum(shares)
    needed = int((wanted > 0).sum())
    if len(patients) < needed:
        raise problem(
            "scans",
            f"{len(patients)} patients",
            f"at least {needed}, one for each of {', '.join(roles)}",
            "add scans of other patients",
        )
    # Everyone who must have a patient gets one; the rest go where the share is furthest from met.
    counts = (wanted > 0).astype(int)
    while counts.sum() < len(patients):
        counts[int(np.argmax(wanted * len(patients) - counts))] += 1
    order = np.random.default_rng(seed).permutation(len(patients))
    role_of_patient: dict[str, str] = {}
    start = 0
    for role, count in zip(roles, counts, strict=True):
        for index in order[start : start + count]:
            role_of_patient[patients[index]] = role
        start += count
    return {name: role_of_patient[patient_of(name)] for name in names}
