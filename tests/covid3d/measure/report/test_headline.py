"""The row that the report is about is not chosen for its result."""

import dataclasses

import pytest

from examples.covid3d.measure.report.headline import headline
from examples.covid3d.methods.rows import ROWS
from tests.covid3d.measure.report.test_verdict import BLIND, RIGHT, results


def about(methods, weights=None, **dice):
    values = {m: [dice.get(m.replace("-", "_"), 0.5)] * 6 for m in methods}
    return headline(results(values, weights=weights))


@pytest.mark.parametrize("winner", ["rgs", "rgsm_al"])
def test_it_is_the_papers_method_whoever_wins(winner):
    found = about(["equal", "rgs", "rgsm-al"], {"rgs": RIGHT, "rgsm-al": BLIND}, **{winner: 0.9})
    assert (found.method, found.control) == ("rgsm-al", "equal")


def test_remembering_comes_first_where_it_was_run(monkeypatch):
    if "best-remembering" not in ROWS:
        monkeypatch.setitem(ROWS, "best-remembering", ROWS["rgs-voxel"])
    found = about(["equal", "equal-trusted", "rgsm-al", "best-remembering"])
    assert (found.method, found.control) == ("best-remembering", "equal-trusted")
    assert found.beside == ("equal-trusted", "rgsm-al", "best-remembering")


def test_without_a_named_row_it_is_the_last_that_weighs_and_is_no_control():
    weights = {"rgs": RIGHT, "rgm": RIGHT, "random": BLIND}
    assert about(["rgs", "rgm", "ua-mt", "random"], weights).method == "rgm"
    assert about(["supervised", "ua-mt"]).method == "ua-mt"
    assert about(["equal", "random"]).method == "random"


def test_who_is_told_the_truth_is_never_the_headline_and_stands_beside(monkeypatch):
    monkeypatch.setitem(ROWS, "told-all", dataclasses.replace(ROWS["rgs-voxel"], told=True))
    found = about(["supervised", "equal", "rgs", "told-all"], {"rgs": BLIND, "told-all": RIGHT})
    assert found.method == "rgs"
    assert found.beside == ("supervised", "equal", "rgs", "told-all")


def test_the_control_was_tested_on_the_same_scans():
    values = {"equal": [0.5] * 5, "random": [0.5] * 6, "rgsm-al": [0.5] * 6}
    assert headline(results(values)).control == "random"
    assert headline(results({"rgsm-al": [0.5] * 6})).control is None


def test_without_a_control_the_teacher_is_one():
    assert about(["supervised", "rgsm-al"]).control == "supervised"
