"""The trial: who has which role, what is found, and that it goes on where it was."""

import dataclasses
import math
import shutil

import numpy as np
import pytest

from examples.covid3d.audit.trial import units
from examples.covid3d.audit.trial.cohort import deal, kinds_of
from examples.covid3d.audit.trial.finding import auroc, found, precision
from examples.covid3d.audit.trial.run import cohort_of, run_trial
from examples.covid3d.audit.trial.settings import SHARES, SOUND, TEACHER, Settings
from examples.covid3d.audit.trial.units import AUDIT, Unit, units_of
from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import read_csv, read_json
from examples.covid3d.measure.metrics import dice
from tests.covid3d.entries import entry
from tests.covid3d.running import files_of, nnunet

TINY = Settings(
    seeds=(0,),
    trusted=(4,),
    rows=("equal", "supervised-trusted", "equal-trusted", "rgs-scan", "audited+", "oracle"),
    set_aside=4,
    tested=2,
    teacher_scans=1,
    teacher_steps=1,
    steps=2,
    audit_steps=2,
    options={
        "spacing": (2.0, 2.0, 3.0),
        "channels": (4, 8),
        "patch": (16, 16, 16),
        "batch_size": 2,
        "foreground_labels": (1,),
        "flip_average": False,
        "overlap": 0.0,
    },
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny trial, made once; not to be changed."""
    folder = tmp_path_factory.mktemp("trial")
    data = nnunet(folder / "data", 28, seed=3)
    run_trial(str(data), TINY, folder / "out")
    return str(data), folder / "out"


def test_a_hundred_masks_are_faulty_in_the_stated_shares():
    kinds = kinds_of(100, np.random.default_rng(0))
    for kind, share in SHARES.items():
        assert kinds.count(kind) == share
    assert kinds.count(SOUND) == 100 - sum(SHARES.values())
    few = kinds_of(50, np.random.default_rng(0))
    assert few.count(TEACHER) == SHARES[TEACHER] / 2


def test_roles_do_not_overlap_and_the_tested_are_the_same_for_every_seed(tmp_path):
    entries = [entry(f"scan{number:03d}") for number in range(160)]
    one, other = (
        deal(entries, Settings(), seed, Settings().config("data"), tmp_path) for seed in (0, 1)
    )
    roles = [one.test, one.trusted, one.teacher, one.audited]
    assert [len(role) for role in roles] == [32, 24, 4, 100]
    assert len(set().union(*roles)) == 160
    assert one.test == other.test
    assert one.trusted != other.trusted


def test_validation_never_sees_the_tested_patients(tmp_path):
    entries = [entry(f"scan{number:03d}") for number in range(160)]
    settings = dataclasses.replace(Settings(), validation=True)
    config = settings.config("data")
    tested = deal(entries, Settings(), 0, config, tmp_path).test
    for seed in range(5):
        cohort = deal(entries, settings, seed, config, tmp_path)
        seen = {*cohort.test, *cohort.trusted, *cohort.teacher, *cohort.audited}
        assert not seen & set(tested)


def test_auroc_and_precision_are_those_of_small_lists():
    bad = np.asarray([True, True, False, False])
    assert auroc(bad, np.asarray([0.1, 0.2, 0.8, 0.9])) == 1
    assert auroc(bad, np.asarray([0.9, 0.1, 0.8, 0.2])) == 0.5
    assert auroc(bad, np.asarray([0.5, 0.5, 0.5, 0.5])) == 0.5
    assert math.isnan(auroc(np.asarray([True, True]), np.asarray([1.0, 2.0])))
    assert precision(bad, np.asarray([0.1, 0.9, 0.2, 0.8])) == 0.5


def test_each_kind_is_held_against_sound_masks_alone():
    kinds = {"a": SOUND, "b": TEACHER, "c": "empty", "d": SOUND}
    numbers = found({"a": 0.9, "b": 0.95, "c": 0.1, "d": 0.8}, kinds)
    assert numbers["empty"] == 1
    assert numbers[TEACHER] == 0
    assert numbers["all kinds"] == 0.5
    assert numbers["all but the teacher's"] == 1
    assert numbers["precision"] == 0.5
    assert math.isnan(numbers["mirrored left-right"])


def test_what_uses_no_trusted_scan_is_trained_once_a_seed():
    made = units_of(Settings())
    assert sum(unit.row == "equal" for unit in made) == 3
    assert sum(unit.row == "oracle" for unit in made) == 6
    assert sum(unit.row == AUDIT for unit in made) == 6


def test_a_trial_leaves_tables_of_rows_and_of_detectors(finished):
    _, out = finished
    text = (out / "tables.md").read_text()
    assert "Told which masks are sound (oracle)" in text
    assert "The oracle is" in text
    assert {line["row"] for line in read_csv(out / "rows.csv")} == set(TINY.rows)
    detectors = {line["detector"] for line in read_csv(out / "detectors.csv")}
    assert {"Audit", "Memory of the similarity (RGS by scan)"} <= detectors
    assert (out / "finding.png").stat().st_size > 1000


def test_the_oracle_sees_sound_masks_alone_and_weighs_nothing_else(finished):
    _, out = finished
    result = read_json(Unit(0, 4, "oracle").folder(out) / "result.json")
    assert result["share_sound"] == 1
    weighed = read_csv(Unit(0, 4, "oracle").folder(out) / "samples.csv")
    kinds = {line["scan"]: line["kind"] for line in read_csv(out / "seed0" / "kinds.csv")}
    assert {kinds[line["scan"]] for line in weighed} == {SOUND}


def test_given_masks_are_what_their_kind_says(finished):
    data, out = finished
    cohort = cohort_of(data, TINY, 0, out)
    for name, kind in cohort.kinds().items():
        agreement = dice(cohort.given_mask(name), cohort.expert(name))
        assert (agreement == 1) == (kind == SOUND)
        if kind == "empty":
            assert cohort.given_mask(name).sum() == 0


def test_doubtful_masks_are_redrawn_and_the_others_kept(finished):
    data, out = finished
    cohort = cohort_of(data, TINY, 0, out)
    folder = Unit(0, 4, "audited+").folder(out) / "labels"
    for line in read_csv(Unit(0, 4, AUDIT).folder(out) / "audit.csv"):
        mask = np.load(folder / line["scan"] / "mask.npy")
        given = np.load(cohort.given / line["scan"] / "mask.npy")
        if line["doubt"] == "none":
            assert np.array_equal(mask, given)
    assert {line["doubt"] for line in read_csv(Unit(0, 4, AUDIT).folder(out) / "audit.csv")}


def test_the_same_command_again_does_nothing_anew_and_another_row_adds_to_it(finished, monkeypatch):
    data, out = finished
    before = files_of(out)
    monkeypatch.setattr(units, "train_row", None)
    run_trial(data, TINY, out)
    changed = {name for name, time in files_of(out).items() if before.get(name) != time}
    assert not {name for name in changed if "seed0" in name}


def test_other_settings_in_the_same_folder_are_refused(finished):
    data, out = finished
    with pytest.raises(UserError, match="a trial with other steps"):
        run_trial(data, dataclasses.replace(TINY, steps=3), out)


def test_other_scans_in_the_same_folder_are_refused(finished, tmp_path):
    _, out = finished
    shutil.copytree(out, tmp_path / "out")
    other = nnunet(tmp_path / "other", 28, seed=4)
    with pytest.raises(UserError, match="a trial with other scans"):
        run_trial(str(other), TINY, tmp_path / "out")


def test_too_few_scans_and_too_many_trusted_are_refused(finished, tmp_path):
    data, out = finished
    with pytest.raises(UserError, match="at least 65"):
        cohort_of(data, dataclasses.replace(TINY, tested=40), 0, out)
    with pytest.raises(UserError, match="at most 4"):
        run_trial(data, dataclasses.replace(TINY, trusted=(5,)), tmp_path)
