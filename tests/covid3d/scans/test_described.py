"""What ``dataset.json`` says is taken for settings, unless the user chose otherwise."""

import json

import numpy as np
import pytest

from examples.covid3d.commands.cli import build_parser
from examples.covid3d.commands.options import configure
from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import read_csv, write_json, write_nifti
from examples.covid3d.scans.manifest import read_manifest
from examples.covid3d.scans.prepare import prepare
from examples.covid3d.scans.readers.description import read_description
from tests.covid3d.running import nnunet, small

V1 = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "Anterior", "2": "Posterior"}}
V2 = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "lung": [1, 2], "lesion": 2, "ignore": 3},
    "file_ending": ".nii.gz",
}


@pytest.mark.parametrize(
    ("content", "is_ct", "foreground", "known"),
    [
        (V1, False, (1, 2), (0, 1, 2)),
        (V2, True, (1, 2), (0, 1, 2, 3)),
        ({"channel_names": {"0": "rescale_0_1"}}, None, (), (0,)),
        ({"channel_names": {"0": "T1w"}, "labels": {"a": 0, "b": 1}}, False, (1,), (0, 1)),
        ({}, None, (), (0,)),
    ],
)
def test_both_versions_are_read(tmp_path, content, is_ct, foreground, known):
    write_json(tmp_path / "dataset.json", content)
    found = read_description(tmp_path)
    assert (found.is_ct, found.foreground, found.known) == (is_ct, foreground, known)


def test_there_may_be_none(tmp_path):
    assert read_description(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"),
        ("[1]", "cannot be read"),
        ('{"labels": {"background": 0, "lesion": "one"}}', "cannot be read"),
        ('{"labels": {"background": 0, "lesion": 1.5}}', "lesion"),
        ('{"file_ending": ".nrrd"}', "files of ending .nrrd"),
    ],
)
def test_what_cannot_be_read_is_an_error(tmp_path, text, words):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(UserError, match=words):
        read_description(tmp_path)


def settings(tmp_path, content, *options):
    (tmp_path / "data" / "imagesTr").mkdir(parents=True, exist_ok=True)
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(content))
    line = ["prepare", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), *options]
    return configure(build_parser().parse_args(line))[1]


def test_mr_and_all_its_labels_are_taken_and_said(tmp_path, caplog):
    with caplog.at_level("INFO"):
        found = settings(tmp_path, V1)
    assert (found.intensity, found.foreground_labels) == ("zscore", (1, 2))
    assert "says MRI" in caplog.text
    assert "1 (Anterior), 2 (Posterior)" in caplog.text
    assert settings(tmp_path, V2).intensity == "ct"


def test_a_choice_stands(tmp_path):
    found = settings(tmp_path, V1, "--intensity", "window", "--foreground-labels", "2")
    assert (found.intensity, found.foreground_labels) == ("window", (2,))
    assert settings(tmp_path, V2, "--intensity", "zscore").intensity == "zscore"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--intensity", "ct"), "--intensity: ct, and .*dataset.json says MRI"),
        (("--foreground-labels", "1", "5"), "--foreground-labels: 1 5"),
    ],
)
def test_a_choice_that_contradicts_it_is_an_error(tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        settings(tmp_path, V1, *options)


def test_several_channels_are_one_error(tmp_path):
    data = nnunet(tmp_path / "data", 2)
    write_json(data / "dataset.json", {"channel_names": {"0": "FLAIR", "1": "T1"}})
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match=r"2 channels \(FLAIR, T1\)"):
        prepare(small(data=str(data)), tmp_path / "run", tmp_path / "none")


def test_one_label_of_several_may_be_the_foreground_and_no_unknown_one_is_taken(tmp_path):
    data = nnunet(tmp_path / "data", 3)
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    for case, highest in (("case00", 2), ("case01", 2), ("case02", 7)):
        labels = np.zeros((20, 18, 16), np.uint8)
        labels[2:6], labels[8:10] = 1, highest
        write_nifti(data / "labelsTr" / f"{case}.nii.gz", labels, affine)
    write_json(data / "dataset.json", V1)
    (tmp_path / "run").mkdir()
    prepare(small(data=str(data), foreground_labels=(2,)), tmp_path / "run", tmp_path / "none")
    entries = read_manifest(tmp_path / "run")
    assert [(entry.name, entry.labels) for entry in entries] == [
        ("case00", (0, 1, 2)),
        ("case01", (0, 1, 2)),
    ]
    assert entries[0].scan(tmp_path).labels == (0, 1, 2)
    assert entries[0].foreground_ml == pytest.approx(2 * 18 * 16 * 0.012)
    (row,) = read_csv(tmp_path / "run" / "rejected.csv")
    assert "not known: 7" in row["reason"]
