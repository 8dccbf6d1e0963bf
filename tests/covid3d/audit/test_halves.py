"""Which scans each of the two networks learns from."""

import dataclasses

import pytest
import torch

from examples.covid3d.audit.halves import both_halves
from examples.covid3d.audit.settings import DEFAULTS
from examples.covid3d.run.context import Context
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.scans.splits import Replicate
from tests.covid3d.entries import cohort


def dealt(entries, trusted, tmp_path):
    names = [one.name for one in entries]
    roles = {
        "teacher": (),
        "test": (),
        "trusted": trusted,
        "unlabelled": tuple(name for name in names if name not in trusted),
    }
    context = Context(RunFolder(tmp_path, DEFAULTS), torch.device("cpu"))
    halves = both_halves(context, Replicate(0, 1, roles, "audit"), entries)
    both = [one.lesson.replicate.roles for one in halves]
    for role in ("trusted", "unlabelled"):
        assert sorted(both[0][role] + both[1][role]) == sorted(roles[role])
        assert both[0][role]
        assert both[1][role]
    return [set(half.scans) for half in halves]


@pytest.mark.parametrize("scans", [1, 2, 3])
def test_a_patients_scans_stay_together_and_the_halves_are_even(tmp_path, scans):
    entries = cohort(9, scans=scans)
    halves = dealt(entries, ("s1_0", "s4_0", "s7_0", "s8_0"), tmp_path)
    patients = [{name.split("_")[0] for name in half} for half in halves]
    assert not patients[0] & patients[1]
    assert abs(len(halves[0]) - len(halves[1])) <= scans


def test_two_patients_with_one_trusted_are_dealt_by_scan(tmp_path):
    entries = [dataclasses.replace(one, patient="p") for one in cohort(6)]
    dealt(entries, ("s1_0", "s4_0"), tmp_path)
