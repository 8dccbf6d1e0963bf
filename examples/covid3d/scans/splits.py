"""Which scan is for what, in every fold and for every seed; a patient has one role."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import problem
from examples.covid3d.scans.manifest import Entry
from examples.covid3d.scans.patients import ROLES

Patients = list[str]


@dataclass(frozen=True, eq=False)
class Replicate:
    """One repetition of the experiment: a seed and a fold.

    Attributes:
        seed: Seed of the deal of the patients that do not test, initial state and batches.
        fold: Counts from 1.
        roles: Names of the scans, by role.
        teacher: Name of the folder of its teacher and pseudo-labels, which folds may share.
    """

    seed: int
    fold: int
    roles: Mapping[str, tuple[str, ...]]
    teacher: str

    @property
    def name(self) -> str:
        """Name of its folders."""
        return f"seed{self.seed}-fold{self.fold}"


def counts_of(total: int, shares: Sequence[float]) -> list[int]:
    """Deals ``total`` out in proportion to ``shares``; a share above zero gets at least one.

    Args:
        total: How many there are, at least one for each share above zero.
        shares: Non-negative, not all zero. Integers that sum to ``total`` are given exactly.

    Returns:
        Numbers that sum to ``total``.
    """
    wanted = np.asarray(shares, dtype=float)
    wanted = wanted / wanted.sum()
    counts = (wanted > 0).astype(int)
    while counts.sum() < total:
        counts[int(np.argmax(np.where(wanted > 0, wanted * total - counts, -np.inf)))] += 1
    return [int(count) for count in counts]


def plan(entries: Sequence[Entry], config: Config) -> list[Replicate]:
    """Plans every replicate of a run.

    With one fold, ``split_seed`` alone decides who is tested: the same patients for every seed.
    With more, every patient is tested in one of them. The other patients are dealt to teacher,
    trusted and unlabelled by the seed, unless ``teacher_once`` sets the teacher's aside first, for
    all folds and seeds. Scans without an expert's mask are unlabelled in every fold.

    Args:
        entries: The prepared scans. If they bring roles of their own, those are taken.
        config: Settings.

    Returns:
        Replicates, by seed and then by fold.

    Raises:
        UserError: If there are too few patients, or one would be on both sides of a split.
    """
    if any(entry.role for entry in entries):
        return _given(entries, config)
    expert = [entry for entry in entries if entry.has_mask and entry.dataset == "data"]
    names = {entry.name for entry in expert}
    others = [entry for entry in entries if entry.name not in names]
    patients = sorted({entry.patient for entry in expert})
    shares = list(config.shares)
    if others:
        # With scans that nobody annotated, no annotated one is spent on that role.
        shares[2] = 0
    if config.teacher_from is not None:
        shares[0] = 0
    _check_enough(patients, shares, config)
    order = np.random.default_rng(config.split_seed).permutation(len(patients))
    replicates = []
    for seed in config.seeds:
        for fold in range(1, config.folds + 1):
            dealt = _deal([patients[i] for i in order], shares, config, seed, fold)
            roles = {
                role: tuple(entry.name for entry in expert if entry.patient in own)
                for role, own in ((role, set(dealt[role])) for role in ROLES)
            }
            roles["unlabelled"] += tuple(entry.name for entry in others)
            _check_filled(roles, config)
            _check_apart(dealt["test"], others)
            shared = config.teacher_once or config.teacher_from is not None
            name = f"seed{seed}" if shared else f"seed{seed}-fold{fold}"
            replicates.append(Replicate(seed, fold, roles, name))
    return replicates


def _given(entries: Sequence[Entry], config: Config) -> list[Replicate]:
    if config.folds > 1 or config.teacher_from is not None:
        raise problem(
            "--folds",
            "folds, or the teacher of another run, for scans that bring roles of their own",
            "one fold and a teacher of its own",
            "drop the roles, or --folds and --teacher-from",
        )
    # What --unlabelled names has but one use.
    entries = [
        dataclasses.replace(entry, role="unlabelled")
        if entry.dataset == "unlabelled" and not entry.role
        else entry
        for entry in entries
    ]
    for entry in entries:
        if entry.role not in ROLES or (entry.role != "unlabelled" and not entry.has_mask):
            raise problem(
                entry.name,
                f"role {entry.role!r}{'' if entry.has_mask else ' and no mask'}",
                f"one of {', '.join(ROLES)}, with a mask unless it is unlabelled",
                "give every scan a role, or none of them",
            )
    roles = {role: tuple(e.name for e in entries if e.role == role) for role in ROLES}
    _check_filled(roles, config)
    tested = [entry.patient for entry in entries if entry.role == "test"]
    _check_apart(tested, [entry for entry in entries if entry.role != "test"])
    return [Replicate(seed, 1, roles, f"seed{seed}") for seed in config.seeds]


def _deal(
    shuffled: Patients, shares: Sequence[float], config: Config, seed: int, fold: int
) -> dict[str, Patients]:
    teacher: Patients = []
    rest = shuffled
    if config.teacher_once and shares[0]:
        count = counts_of(len(shuffled), shares)[0]
        teacher, rest = shuffled[:count], shuffled[count:]
    if config.folds == 1:
        tests = counts_of(len(rest), [*([0] if teacher else shares[:1]), *shares[1:]])[-1]
        test, training = rest[:tests], rest[tests:]
    else:
        parts = np.array_split(np.arange(len(rest)), config.folds)
        test = [rest[i] for i in parts[fold - 1]]
        training = [patient for patient in rest if patient not in set(test)]
    key = [config.split_seed, seed, fold]
    training = [training[i] for i in np.random.default_rng(key).permutation(len(training))]
    wanted = [0.0 if teacher else shares[0], shares[1], shares[2]]
    first, second, _ = (int(n) for n in np.cumsum(counts_of(len(training), wanted)))
    return {
        "teacher": teacher or training[:first],
        "trusted": training[first:second],
        "unlabelled": training[second:],
        "test": test,
    }


def _check_enough(patients: Patients, shares: Sequence[float], config: Config) -> None:
    # Those who are in no fold, and those whom even the largest fold must leave to the other roles.
    aside = int(config.teacher_once and shares[0] > 0)
    others = sum(share > 0 for share in shares[:3]) - aside
    folded = max(others + 1, config.folds)
    while config.folds > 1 and folded - math.ceil(folded / config.folds) < others:
        folded += 1
    needed = aside + folded
    if len(patients) < needed:
        raise problem(
            "scans",
            f"{len(patients)} patients with an expert's mask",
            f"at least {needed}, for {', '.join(ROLES)} and {config.folds} folds",
            "add scans of other patients, or lower --folds",
        )


def _check_filled(roles: Mapping[str, tuple[str, ...]], config: Config) -> None:
    for role in ROLES:
        if not roles[role] and not (role == "teacher" and config.teacher_from is not None):
            raise problem(
                "split",
                f"no scan is for the role {role!r}",
                "at least one; unlabelled scans come from --unlabelled or from a share",
                "give --unlabelled DIR, raise that role's number in --shares, or take the teacher "
                "of another run with --teacher-from RUN",
            )


def _check_apart(tested: Patients, others: Sequence[Entry]) -> None:
    both = sorted(set(tested) & {entry.patient for entry in others})
    if both:
        raise problem(
            "split",
            f"{', '.join(both[:5])}: a patient who is tested and trained on",
            "each patient on one side",
            "remove those scans, or give their patients in a CSV (image, label, patient, source)",
        )
