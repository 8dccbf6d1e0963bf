"""What is said of how far the judge can be believed is what it found of planted faults."""

from examples.covid3d.audit.belief import PLANTED, believed, plant
from examples.covid3d.audit.judging import assessments_of, judge_trusted
from examples.covid3d.audit.verdict import Verdict
from examples.covid3d.common.files import read_json, write_json
from tests.covid3d.audit.assessments import assessment
from tests.covid3d.audit.test_judging import drawings, names_of


def test_coarse_faults_are_planted_and_found_and_those_that_change_nothing_do_not_count(tmp_path):
    trusted = drawings("t", 8)
    plant(trusted, tmp_path)
    counts = {
        kind: (found, planted) for kind, found, planted in read_json(tmp_path / "belief.json")
    }
    assert counts["empty"] == counts["half of it missing"] == (8, 8)
    assert counts["shifted by 3 voxels"] == counts["under-drawn by 2 voxels"] == (8, 8)
    # A ball in the middle, mirrored, differs by noise alone.
    assert counts["mirrored left-right"][0] < 8
    assert set(counts) <= set(PLANTED)


def test_an_audit_by_two_trusted_scans_has_something_to_say(tmp_path):
    trusted = drawings("t", 2)
    judge_trusted(names_of(trusted), trusted, tmp_path)
    plant(trusted, tmp_path)
    verdict = Verdict([], assessments_of(tmp_path, names_of(trusted)))
    first, second = believed(verdict, tmp_path).belief
    assert first.startswith("Of 1")
    assert second == "As they are, it doubts none of the 2."


def test_the_sentences_name_what_is_missed_and_how_many_sound_ones_are_doubted(tmp_path):
    write_json(tmp_path / "belief.json", [["empty", 8, 8], ["shifted by 3 voxels", 5, 8]])
    trusted = [assessment("a", 0.1, "missed"), assessment("b", 0.9)]
    assert believed(Verdict([], trusted), tmp_path).belief == [
        "Of 16 faults planted in copies of their masks it finds 13 (not found: shifted by 3 "
        "voxels, 3 of 8).",
        "As they are, it doubts 1 of the 2.",
    ]


def test_where_few_faults_are_found_there_is_no_verdict(tmp_path):
    judged = [assessment("a", 0.1, "missed"), assessment("b", 0.9)]
    for found, said in ((3, "No verdict: of 8 faults"), (4, "1 of 2 masks is doubtful")):
        write_json(tmp_path / "belief.json", [["empty", found, 8]])
        assert believed(Verdict(judged, []), tmp_path).sentence().startswith(said)
