"""`inspect` shows what a folder would be taken for, and writes nothing."""

import numpy as np
import pytest

from examples.covid3d.commands.cli import main
from examples.covid3d.common.files import write_json, write_nifti
from examples.covid3d.scans import survey
from tests.covid3d.running import files_of, hide_masks, nnunet

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
SHAPE = (20, 18, 16)


@pytest.fixture
def data(tmp_path):
    return nnunet(tmp_path / "data", 4)


@pytest.fixture
def inspect(data, capsys):
    """Runs the command on the data; gives the status and what it printed."""

    def run(*options):
        before = files_of(data.parent)
        status = main(["inspect", str(data), "--spacing", "2", "2", "3", *options])
        assert files_of(data.parent) == before
        return status, capsys.readouterr().out

    return run


def test_what_is_sound_is_shown_and_status_0(inspect, data):
    hide_masks(data, "case03")
    status, text = inspect()
    assert status == 0
    line = next(line for line in text.splitlines() if line.startswith("case00"))
    assert "20 x 18 x 16" in line
    assert "2 x 2 x 3" in line
    assert "1: 3.75%" in line
    assert "no mask" in next(line for line in text.splitlines() if line.startswith("case03"))
    for words in (
        "nnunet (by its names), 4 scans, 3 masks", "as CT in HU: 4. Taken as --intensity ct",
        "size        20 x 18 x 16 voxels", "in 3 of 3 masks", "patients    4;", "rejected      0",
    ):  # fmt: skip
        assert words in text


def test_what_would_be_rejected_is_said_with_why_and_status_1(inspect, data):
    nnunet(data, 24)
    flat = np.full(SHAPE, -1000, np.int16)
    write_nifti(data / "imagesTr" / "case01.nii.gz", flat, AFFINE)
    (data / "labelsTr" / "case02.nii.gz").write_bytes(b"x")
    status, text = inspect()
    assert status == 1
    assert "REJECTED: all voxels are -1000" in text
    assert "cannot be read" in text
    assert "rejected      2" in text
    # The scans with something to say of them come first.
    assert text.splitlines()[1].startswith("case01")


def test_what_would_stop_prepare_is_said_and_status_2(inspect, data):
    write_json(data / "dataset.json", {"labels": {"background": 0, "lesion": 1}})
    for case in range(4):
        image = np.random.default_rng(case).gamma(2, 200, SHAPE).astype(np.float32)
        write_nifti(data / "imagesTr" / f"case{case:02d}.nii.gz", image, AFFINE)
    status, text = inspect()
    assert status == 2
    assert "--intensity: ct, but 4 of 4 scans looked at cannot be CT" in text
    assert inspect("--intensity", "zscore")[0] == 0
    write_json(data / "dataset.json", {"modality": {"0": "MRI"}})
    status, text = inspect()
    assert status == 0
    assert "MRI (dataset.json)" in text
    assert "Taken as --intensity zscore" in text
    assert inspect("--spacing", "0.05", "0.05", "0.05")[0] == 2


def test_masks_in_which_nothing_is_drawn_would_stop_it_too(inspect, data):
    for path in (data / "labelsTr").iterdir():
        write_nifti(path, np.zeros(SHAPE, np.uint8), AFFINE)
    status, text = inspect()
    assert status == 2
    assert "no foreground in any of 4 masks" in text
    assert "4 scans: no foreground in its mask" in text


def test_copies_and_patients_of_a_table_are_shown(inspect, data, tmp_path):
    image = (data / "imagesTr" / "case00.nii.gz").read_bytes()
    (data / "imagesTr" / "case01.nii.gz").write_bytes(image)
    table = tmp_path / "patients.csv"
    table.write_text("scan,patient\n" + "".join(f"case0{i},p{i // 2}\n" for i in range(4)))
    text = inspect("--patients", str(table), "--max-rejected", "3")[1]
    assert "REJECTED: the same voxels as case00" in text
    assert "patients    2; 2 with several scans (by " in text


def test_of_many_megabytes_a_sample_is_read_unless_every_scan_is_asked_for(inspect, monkeypatch):
    monkeypatch.setattr(survey, "_READ_UNASKED", 1)
    monkeypatch.setattr(survey, "sample", lambda scans: list(scans)[:1])
    assert "voxels of 1: of the intensities and labels of the other 3" in inspect()[1]
    assert "nothing is known" not in inspect("--every")[1]


def test_names_cannot_move_the_cursor(inspect, data):
    (data / "imagesTr" / "case00.nii.gz").rename(data / "imagesTr" / "a\x1b[2J\nb.nii.gz")
    (data / "labelsTr" / "case00.nii.gz").rename(data / "labelsTr" / "a\x1b[2J\nb.nii.gz")
    text = inspect()[1]
    assert "a?[2J?b" in text
    assert "\x1b" not in text


def test_a_folder_is_needed_once(data, capsys):
    assert main(["inspect"]) == 2
    assert "inspect FOLDER" in capsys.readouterr().err
    assert main(["inspect", str(data), "--data", str(data)]) == 2
    assert main(["inspect", str(data / "gone")]) == 2


def test_of_dicom_the_header_tells_the_modality_and_the_patient(tmp_path, capsys):
    files = pytest.importorskip("tests.covid3d.scans.readers.dicom_files")
    for name, modality in (("anna", "CT"), ("bert", "MR")):
        files.write_series(
            tmp_path / "in" / name, files.chest(12, 12, 12), uid=f"1.{len(name)}.{ord(name[0])}",
            patient=name.upper(), modality=modality, affine=np.diag([-2.0, -2.0, 3.0, 1.0]),
        )  # fmt: skip
    options = ["--spacing", "2", "2", "3", "--max-rejected", "1"]
    assert main(["inspect", str(tmp_path / "in"), *options]) == 1
    text = capsys.readouterr().out
    assert "CT (1 DICOM headers); MR (1 DICOM headers)" in text
    assert "REJECTED: modality MR" in text
    assert "ANNA" in text


def test_a_folder_without_any_mask_is_said_to_be_none_for_data(inspect, data):
    hide_masks(data, *(f"case{number:02d}" for number in range(4)))
    status, text = inspect()
    assert status == 0
    assert "no scan has a mask" in text


def test_reasons_with_other_figures_are_counted_together_and_one_is_shown(inspect, data):
    rng = np.random.default_rng(0)
    for number in range(2):
        odd = rng.integers(0, 3000 + number, SHAPE).astype(np.int16)
        write_nifti(data / "imagesTr" / f"case{number:02d}.nii.gz", odd, AFFINE)
    _, text = inspect("--max-rejected", "3")
    line = next(line for line in text.splitlines() if line.startswith("  2 x "))
    assert line.endswith("which CT has not, or the like")


def test_what_a_reader_rejects_is_named_and_what_was_expected_is_said(inspect, data):
    (data / "labelsTr" / "alone.nii.gz").write_bytes(b"x")
    small = np.zeros((4, 4, 4), np.uint8)
    write_nifti(data / "labelsTr" / "case01.nii.gz", small, AFFINE)
    _, text = inspect()
    line = next(line for line in text.splitlines() if "alone.nii.gz" in line.split("  ")[0])
    assert "REJECTED: " in line
    line = next(line for line in text.splitlines() if line.startswith("case01"))
    assert "shape (4, 4, 4). Expected: (20, 18, 16), that of its scan" in line
