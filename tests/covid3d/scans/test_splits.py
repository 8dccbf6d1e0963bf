"""What must hold of every split, whatever is asked for."""

import dataclasses
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import UserError
from examples.covid3d.run.presets import PRESETS
from examples.covid3d.scans.patients import ROLES
from examples.covid3d.scans.splits import counts_of, plan
from tests.covid3d.entries import cohort, entry
from tests.covid3d.scans.test_patients import BENCHMARK

share = st.one_of(st.integers(0, 12), st.floats(1e-6, 1))
seeds = st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True).map(tuple)


def patients_of(replicate, entries):
    patient = {e.name: e.patient for e in entries}
    return {role: {patient[name] for name in replicate.roles[role]} for role in ROLES}


@st.composite
def settings(draw):
    """Entries and settings; what cannot be split is refused by `plan` or assumed away."""
    unlabelled = draw(st.integers(0, 3))
    entries = cohort(draw(st.integers(3, 24)), unlabelled, draw(st.integers(1, 2)))
    shares = draw(st.tuples(share, share, share, share))
    assume(shares[3] > 0.01 and shares[0] > 0.01 and shares[1] > 0.01)
    assume(unlabelled or shares[2] > 0.01)
    return entries, Config(
        shares=shares,
        folds=draw(st.integers(1, 6)),
        seeds=draw(seeds),
        split_seed=draw(st.integers(0, 99)),
        teacher_once=draw(st.booleans()),
    )


def planned(entries, config):
    try:
        return plan(entries, config)
    except UserError:
        assume(False)


@given(settings())
def test_no_patient_has_two_roles_and_every_scan_one(given_settings):
    entries, config = given_settings
    replicates = planned(entries, config)
    assert len(replicates) == len(config.seeds) * config.folds
    for replicate in replicates:
        roles = patients_of(replicate, entries)
        for one in ROLES:
            assert roles[one]
            assert not any(roles[one] & roles[other] for other in ROLES if other != one)
        names = [name for role in ROLES for name in replicate.roles[role]]
        assert sorted(names) == sorted(e.name for e in entries)
        assert {e.name for e in entries if not e.has_mask} <= set(replicate.roles["unlabelled"])


@given(settings())
def test_every_patient_is_tested_once_over_the_folds(given_settings):
    entries, config = given_settings
    assume(config.folds > 1)
    replicates = planned(entries, config)
    annotated = {e.patient for e in entries if e.has_mask}
    for seed in config.seeds:
        own = [patients_of(one, entries) for one in replicates if one.seed == seed]
        tested = [patient for roles in own for patient in sorted(roles["test"])]
        aside = own[0]["teacher"] if config.teacher_once else set()
        assert sorted(tested) == sorted(annotated - aside)
        sizes = [len(roles["test"]) for roles in own]
        assert max(sizes) - min(sizes) <= 1


@given(settings())
def test_who_is_tested_does_not_depend_on_the_seed(given_settings):
    entries, config = given_settings
    replicates = planned(entries, config)
    for fold in range(1, config.folds + 1):
        assert len({one.roles["test"] for one in replicates if one.fold == fold}) == 1


@given(settings())
def test_a_teacher_set_aside_is_never_tested_and_always_the_same(given_settings):
    entries, config = given_settings
    replicates = planned(entries, dataclasses.replace(config, teacher_once=True))
    assert len({one.roles["teacher"] for one in replicates}) == 1
    assert {one.teacher for one in replicates} == {f"seed{seed}" for seed in config.seeds}
    teacher = patients_of(replicates[0], entries)["teacher"]
    assert not any(teacher & patients_of(one, entries)["test"] for one in replicates)


@given(
    shares=st.tuples(*[st.integers(1, 8)] * 2, st.integers(0, 8), st.integers(1, 8)),
    seed=st.integers(0, 99),
    once=st.booleans(),
)
def test_whole_numbers_that_add_up_are_met_exactly(shares, seed, once):
    unlabelled = 0 if shares[2] else 2
    entries = cohort(sum(shares), unlabelled)
    config = Config(shares=shares, split_seed=seed, seeds=(seed,), teacher_once=once)
    (replicate,) = plan(entries, config)
    found = [len(replicate.roles[role]) for role in ROLES]
    assert found == [shares[0], shares[1], shares[2] or unlabelled, shares[3]]


@given(total=st.integers(4, 300), shares=st.lists(share, min_size=4, max_size=4))
def test_counts_add_up_and_are_in_proportion(total, shares):
    assume(sum(shares) > 0)
    counts = counts_of(total, shares)
    assert sum(counts) == total
    for count, wanted in zip(counts, shares, strict=True):
        assert (count == 0) == (wanted == 0)
        # Who gets one although it should have less takes it from the others.
        assert abs(count - wanted / sum(shares) * total) < 4


def test_the_seed_deals_those_that_do_not_test():
    entries = cohort(20)
    config = Config(seeds=(0, 1, 2, 3))
    replicates = plan(entries, config)
    assert len({one.roles["trusted"] for one in replicates}) > 1
    assert len({one.roles["teacher"] for one in replicates}) > 1
    assert len({one.teacher for one in replicates}) == 4
    other = plan(entries, dataclasses.replace(config, split_seed=1))
    assert other[0].roles["test"] != replicates[0].roles["test"]
    assert plan(entries, config)[2].roles == replicates[2].roles


def test_the_order_of_the_scans_does_not_matter():
    entries, config = cohort(12), Config(folds=3)
    for one, other in zip(plan(entries, config), plan(entries[::-1], config), strict=True):
        assert all(set(one.roles[role]) == set(other.roles[role]) for role in ROLES)


def test_experiment_1_on_the_benchmark():
    """20 scans of 19 patients: 4 for the teacher, the other 15 in 4 folds, the hospital's apart."""
    entries = [entry(name) for name in BENCHMARK]
    entries += [entry(f"hospital_{i}", dataset="unlabelled", mask=False) for i in range(7)]
    replicates = plan(entries, PRESETS["experiment-1"])
    assert [one.name for one in replicates] == [f"seed0-fold{k}" for k in (1, 2, 3, 4)]
    for one in replicates:
        roles = patients_of(one, entries)
        assert len(roles["teacher"]) == 4
        assert len(roles["test"]) in (3, 4)
        assert len(roles["trusted"]) + len(roles["test"]) == 15
        assert set(one.roles["unlabelled"]) == {f"hospital_{i}" for i in range(7)}
        pair = {"radiopaedia_10_85902_1", "radiopaedia_10_85902_3"}
        assert sum(bool(pair & set(one.roles[role])) for role in ROLES) == 1
    assert len({one.roles["teacher"] for one in replicates}) == 1
    assert {one.teacher for one in replicates} == {"seed0"}


def test_experiment_2_takes_its_teacher_from_elsewhere():
    config = dataclasses.replace(PRESETS["experiment-2"], teacher_from="runs/experiment-1")
    replicates = plan(cohort(199, unlabelled=3), config)
    for one in replicates:
        counts = [len(one.roles[role]) for role in ROLES]
        assert counts[0] == 0
        assert counts[2] == 3
        assert counts[3] in (39, 40)
        assert counts[1] + counts[3] == 199


def test_a_patient_of_the_unlabelled_dataset_who_is_tested_is_an_error():
    entries = [*cohort(6), *(entry(f"again{i}", f"p{i}", dataset="unlabelled") for i in range(6))]
    with pytest.raises(UserError, match="tested and trained on"):
        plan(entries, Config())


def test_scans_with_masks_in_the_unlabelled_dataset_stay_unlabelled():
    entries = [*cohort(6), entry("known", dataset="unlabelled")]
    for one in plan(entries, Config(folds=3)):
        assert one.roles["unlabelled"] == ("known",)


@pytest.mark.parametrize(("patients", "folds"), [(3, 1), (4, 3)])
def test_too_few_patients_is_an_error_that_says_so(patients, folds):
    with pytest.raises(UserError, match=f"{patients} patients with an expert's mask"):
        plan(cohort(patients, scans=2), Config(folds=folds))


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("folds", [1, 2, 3, 5, 7])
def test_as_many_patients_as_are_asked_for_are_enough(folds, once):
    config = Config(folds=folds, shares=(1, 1, 1, 1), teacher_once=once)
    with pytest.raises(UserError) as caught:
        plan(cohort(2), config)
    needed = int(re.search(r"at least (\d+)", str(caught.value))[1])
    with pytest.raises(UserError, match=f"{needed - 1} patients with an expert's mask"):
        plan(cohort(needed - 1), config)
    # Of those set aside by its share, a teacher may take more than the one that it needs.
    for one in plan(cohort(needed + (folds if once else 0)), config):
        assert all(one.roles.values())


def test_nothing_unlabelled_is_an_error_that_says_so():
    with pytest.raises(UserError, match="no scan is for the role 'unlabelled'"):
        plan(cohort(9), Config(shares=(1, 1, 0, 1)))
