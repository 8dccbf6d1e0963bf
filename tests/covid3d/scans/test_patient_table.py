"""A table names the patients of layouts that cannot."""

import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.scans.sources import listing, read_sources
from tests.covid3d.running import hide_masks, nnunet, small

GOOD = "scan,patient\ncase00,anna\ncase01,bert\ncase02,anna\n"


def patients(tmp_path, text=GOOD, **changes):
    table = tmp_path / "patients.csv"
    table.write_text(text, encoding="utf-8")
    config = small(data=str(tmp_path / "data"), patients=str(table), **changes)
    return {scan.name: scan.patient for _, scan in read_sources(config)[0]}


@pytest.fixture(autouse=True)
def data(tmp_path):
    return nnunet(tmp_path / "data", 3)


def test_each_scan_is_of_the_patient_it_names(tmp_path):
    expected = {"case00": "anna", "case01": "bert", "case02": "anna"}
    assert patients(tmp_path) == expected
    # A spreadsheet program's: a mark in front, other columns, capitals, blanks, other order.
    text = "\ufeffPatient , note,Scan\nanna,x, case02\nbert,,case01\n anna,y,case00\n"
    assert patients(tmp_path, text) == expected


def test_an_accent_written_in_two_ways_is_one_patient(tmp_path):
    text = GOOD.replace("anna", "m\u00fcller", 1).replace("anna", "mu\u0308ller")
    found = patients(tmp_path, text)
    assert found["case00"] == found["case02"] == "m\u00fcller"


def test_the_limit_is_of_those_patients(tmp_path):
    assert set(patients(tmp_path, limit=1)) in ({"case00", "case02"}, {"case01"})


def test_both_datasets_are_in_it(tmp_path):
    other = hide_masks(nnunet(tmp_path / "other", 1), "case00")
    (other / "imagesTr" / "case00.nii.gz").rename(other / "imagesTr" / "new.nii.gz")
    found = patients(tmp_path, GOOD + "new,bert\n", unlabelled=str(other))
    assert found["new"] == "bert"


def test_a_scan_that_a_reader_rejected_may_be_named(tmp_path, data):
    (data / "imagesTr" / "case02.nii.gz").unlink()
    assert patients(tmp_path) == {"case00": "anna", "case01": "bert"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD[:-12], "no patient for 1 of the scans found: case02"),
        (GOOD + "case9,anna\n", "1 scans that were not found: case9"),
        (GOOD + "case00,bert\n", "line 5: scan case00 a second time"),
        (GOOD + "case03,\n", "line 5: an empty cell"),
        (GOOD + "case03\n", "line 5: an empty cell"),
        ("name,patient\na,b\n", "no column scan"),
        ("scan,patient\n", "no rows"),
        ("", "no column scan or patient"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        patients(tmp_path, text)


def test_a_table_that_is_not_there_or_no_text_is_refused(tmp_path):
    (tmp_path / "odd.csv").write_bytes(b"scan,patient\ncase00,\xff\n")
    for name in ("gone.csv", "odd.csv"):
        with pytest.raises(UserError, match="cannot be read"):
            read_sources(small(data=str(tmp_path / "data"), patients=str(tmp_path / name)))


def test_a_changed_table_is_noticed(tmp_path):
    patients(tmp_path)
    config = small(data=str(tmp_path / "data"), patients=str(tmp_path / "patients.csv"))
    before = listing(config)
    (tmp_path / "patients.csv").write_text(GOOD.replace("bert", "bertha"))
    assert listing(config) != before
