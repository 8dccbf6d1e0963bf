"""Roles that the dataset brings are taken as they are, or refused."""

import pytest

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import UserError
from examples.covid3d.scans.patients import ROLES
from examples.covid3d.scans.splits import plan
from tests.covid3d.entries import entry


class TestGivenRoles:
    def test_are_taken_under_every_seed(self):
        entries = [entry(role, role=role, mask=role != "unlabelled") for role in ROLES]
        replicates = plan(entries, Config(seeds=(3, 4)))
        assert [one.roles for one in replicates] == [{role: (role,) for role in ROLES}] * 2
        assert [one.name for one in replicates] == ["seed3-fold1", "seed4-fold1"]

    @pytest.mark.parametrize(
        "odd", [{"role": "judge"}, {"role": ""}, {"role": "test", "mask": False}]
    )
    def test_that_cannot_be_are_refused(self, odd):
        entries = [*(entry(role, role=role) for role in ROLES), entry("odd", **odd)]
        with pytest.raises(UserError, match=r"odd: role.*\n.*Expected"):
            plan(entries, Config())

    def test_of_a_patient_on_both_sides_are_refused(self):
        entries = [
            *(entry(role, role=role) for role in ROLES),
            entry("more", "test", role="teacher"),
        ]
        with pytest.raises(UserError, match="test: a patient who is tested and trained on"):
            plan(entries, Config())

    @pytest.mark.parametrize("change", [{"folds": 2}, {"teacher_from": "elsewhere"}])
    def test_leave_nothing_to_folds_or_to_the_teacher_of_another_run(self, change):
        entries = [entry(f"{role}{i}", role=role) for role in ROLES for i in range(3)]
        with pytest.raises(UserError, match="scans that bring roles of their own"):
            plan(entries, Config(**change))

    def test_scans_of_the_unlabelled_dataset_need_none(self):
        entries = [entry(role, role=role) for role in ROLES]
        entries += [entry("plain", dataset="unlabelled", mask=False)]
        entries += [entry("known", dataset="unlabelled")]
        entries += [entry("said", dataset="unlabelled", mask=False, role="unlabelled")]
        (replicate,) = plan(entries, Config())
        roles = replicate.roles
        assert roles["unlabelled"] == ("unlabelled", "plain", "known", "said")
        assert [roles[role] for role in ROLES if role != "unlabelled"] == [
            (role,) for role in ROLES if role != "unlabelled"
        ]
