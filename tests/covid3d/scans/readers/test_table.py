from pathlib import Path

import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.scans.readers.table import read
from tests.covid3d.scans.readers.tree import plant

HEADER = "image,label,patient,source"


@pytest.fixture
def write(tmp_path):
    plant(tmp_path, "a.nii.gz", "sub/b.nii.gz", "sub/b_mask.nii.gz")

    def write(*lines, encoding="utf-8"):
        path = tmp_path / "scans.csv"
        path.write_text("\n".join(lines) + "\n" if lines else "", encoding=encoding)
        return path

    return write


def test_rows_and_their_defaults(write, tmp_path):
    found = read(
        write(
            HEADER,
            "sub/b.nii.gz,sub/b_mask.nii.gz,Smith,trial",
            "",
            f"{tmp_path / 'a.nii.gz'}, ,,",
            ",,,",
        )
    )
    assert found.rejected == []
    assert [(s.name, s.patient, s.source) for s in found.scans] == [
        ("a", "a", "csv"),
        ("b", "Smith", "trial"),
    ]
    a, b = found.scans
    assert (a.image, a.mask) == (tmp_path / "a.nii.gz", None)
    assert (b.image, b.mask) == (tmp_path / "sub/b.nii.gz", tmp_path / "sub/b_mask.nii.gz")


def test_paths_are_relative_to_the_table_not_to_the_working_folder(write, tmp_path, monkeypatch):
    table = write(HEADER, "a.nii.gz,,,")
    monkeypatch.chdir(tmp_path / "sub")
    assert table == tmp_path / "scans.csv"
    found = read(Path("../scans.csv"))
    assert found.scans[0].image.is_file()
    assert found.scans[0].image.is_absolute()


def test_names_in_a_column_and_columns_in_any_order(write):
    found = read(
        write(
            "Name,source, Patient ,note,label,image",
            "first,x,P,hello,,a.nii.gz",
            ",x,P,,,sub/b.nii.gz",
        )
    )
    assert [(s.name, s.patient) for s in found.scans] == [("b", "P"), ("first", "P")]


def test_the_mark_that_spreadsheets_write_and_windows_line_ends(write):
    found = read(write(HEADER + "\r", "a.nii.gz,,Müller,\r", encoding="utf-8-sig"))
    assert [s.patient for s in found.scans] == ["Müller"]


def test_bad_rows_are_rejected_with_their_line(write, tmp_path):
    found = read(
        write(
            HEADER,
            "gone.nii.gz,,,",
            "a.nii.gz,,,",
            "",
            "sub/b.nii.gz,no_mask.nii.gz,,",
            "sub/b.nii.gz",
            ",sub/b_mask.nii.gz,P,",
            "a.nii.gz,,,,",
            "sub,,,",
        )
    )
    assert [s.name for s in found.scans] == ["a"]
    table = tmp_path / "scans.csv"
    assert [(item.where, item.reason) for item in found.rejected] == [
        (f"{table}, line 2", f"no such file: {tmp_path / 'gone.nii.gz'}"),
        (f"{table}, line 5", f"no such file: {tmp_path / 'no_mask.nii.gz'}"),
        (f"{table}, line 6", "1 cells; the header has 4"),
        (f"{table}, line 7", "no image given"),
        (f"{table}, line 8", "5 cells; the header has 4"),
        (f"{table}, line 9", f"no such file: {tmp_path / 'sub'}"),
    ]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "empty file"),
        (["", " "], "empty file"),
        ([HEADER], "no rows"),
        (["image,label", "a.nii.gz,"], "no column patient, source"),
        (["image;label;patient;source", "a.nii.gz;;;"], "no column image, label"),
        (["a.nii.gz,,,"], "no column"),
        ([HEADER + ",image", "a.nii.gz,,,,"], "column twice"),
        ([HEADER, "a.nii.gz,,,", "a.nii.gz,,,"], "line 3: a second scan called a"),
        ([HEADER + ",name", "a.nii.gz,,,,x", "sub/b.nii.gz,,,,x"], "second scan called x"),
        ([HEADER + ",name", "a.nii.gz,,P,,x", "sub/../a.nii.gz,,Q,,y"], "of Q, and above of P"),
        ([HEADER + ",name", "a.nii.gz,,,,../x"], "name '../x'"),
        ([HEADER, '"a.nii.gz,,,'], "cannot be read"),
    ],
)
def test_tables_that_are_refused(write, lines, words):
    with pytest.raises(UserError, match=words):
        read(write(*lines))


def test_another_encoding_is_refused(write):
    with pytest.raises(UserError, match="UTF-8"):
        read(write(HEADER, "a.nii.gz,,Müller,", encoding="latin-1"))


def test_missing_table(tmp_path):
    with pytest.raises(UserError, match=r"gone\.csv: cannot be read"):
        read(tmp_path / "gone.csv")
