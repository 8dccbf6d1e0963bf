"""What `prepare` writes of each scan."""

import dataclasses

import nibabel
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from examples.covid3d.common.files import read_csv, write_nifti
from examples.covid3d.run.pipeline import run_stages
from examples.covid3d.scans import prepare as module
from examples.covid3d.scans.manifest import read_manifest
from examples.covid3d.scans.nifti import load_image
from examples.covid3d.scans.prepare import prepare
from examples.covid3d.scans.store import StoredScan
from examples.covid3d.scans.volumes import checksum_of
from tests.covid3d.running import hide_masks, nnunet, small

SLOW = np.diag([2.0, 2.0, 3.0, 1.0])


def prepared(tmp_path, data, name="run", **changes):
    folder = tmp_path / name
    folder.mkdir()
    prepare(small(data=str(data), **changes), folder, tmp_path / "none")
    return folder


def rejected(folder):
    return read_csv(folder / "rejected.csv")


@pytest.fixture
def data(tmp_path):
    return nnunet(tmp_path / "data", 4)


def test_the_manifest_says_what_was_found(tmp_path, data):
    hide_masks(data, "case03")
    folder = prepared(tmp_path, data)
    entries = {entry.name: entry for entry in read_manifest(folder)}
    assert list(entries) == [f"case0{i}" for i in range(4)]
    for name, entry in entries.items():
        path = data / "imagesTr" / f"{name}.nii.gz"
        assert entry.sha256 == checksum_of(*load_image(path))
        assert entry.spacing == (2.0, 2.0, 3.0)
        assert entry.shape == (20, 18, 16)
        assert (entry.patient, entry.source, entry.dataset) == (name, "nnunet", "data")
        assert -1300 < entry.low < -800
        assert -400 < entry.high < 400
        assert entry.scale == "HU"
        assert entry.image == str(path)
        assert entry.has_mask == (name != "case03")
    # 6^3 voxels of 12 cubic millimetres.
    assert entries["case00"].foreground_ml == pytest.approx(216 * 0.012)
    assert entries["case03"].foreground_ml is None
    assert rejected(folder) == []


@pytest.mark.filterwarnings("ignore::examples.covid3d.scans.intensity.WindowedScanWarning")
def test_the_scale_is_said_of_windowed_volumes_and_of_any_other(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (9, 8, 7)).astype(np.uint8)
    write_nifti(tmp_path / "data" / "imagesTr" / "a.nii.gz", image, SLOW)
    for intensity, scale in (("ct", "0..255"), ("zscore", "any"), ("window", "any")):
        folder = prepared(tmp_path, tmp_path / "data", intensity, intensity=intensity)
        (entry,) = read_manifest(folder)
        assert (entry.scale, entry.low, entry.high) == (scale, 0, 255)
        unit = StoredScan("a", folder / "scans" / "a").image
        if intensity == "zscore":
            assert abs(float(unit.mean())) < 0.05
            assert float(unit.std()) == pytest.approx(1, abs=0.05)
        else:
            assert unit.min() >= 0
            assert unit.max() <= 1


def test_voxels_are_those_of_an_interpolation_by_another_library(tmp_path, data):
    folder = prepared(tmp_path, data, spacing=(1.5, 2.5, 4.0))
    for name in ("case00", "case02"):
        scan = StoredScan(name, folder / "scans" / name, folder / "scans" / name)
        assert scan.grid.spacing == (1.5, 2.5, 4.0)
        own = nibabel.load(data / "imagesTr" / f"{name}.nii.gz")
        index = np.stack(np.meshgrid(*map(np.arange, scan.grid.shape), indexing="ij"), -1)
        to_own = np.linalg.inv(own.affine) @ scan.grid.affine
        at = np.moveaxis(index @ to_own[:3, :3].T + to_own[:3, 3], -1, 0)
        unit = np.clip((np.asarray(own.dataobj, dtype=float) + 1250) / 1500, 0, 1)
        expected = map_coordinates(unit, at, order=1, mode="nearest")
        np.testing.assert_allclose(scan.image, expected, atol=1e-5)
        mask = np.asarray(nibabel.load(data / "labelsTr" / f"{name}.nii.gz").dataobj, float)
        inside = map_coordinates(mask, at, order=1, mode="nearest")
        # Nearest neighbours and linear interpolation agree wherever the latter is clear.
        clear = np.abs(inside - 0.5) > 0.49
        np.testing.assert_array_equal(scan.mask[clear], inside[clear] > 0.5)
        assert scan.mask.any()
        np.testing.assert_array_equal(scan.foreground, np.flatnonzero(scan.mask))


def test_several_at_a_time_are_the_same_as_one_at_a_time(tmp_path, data, monkeypatch):
    nnunet(tmp_path / "data", 9)
    monkeypatch.setattr(module, "_MOST_THREADS", 1)
    one = prepared(tmp_path, data, "one")
    monkeypatch.setattr(module, "_MOST_THREADS", 4)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 4)
    four = prepared(tmp_path, data, "four")
    names = sorted(str(p.relative_to(one)) for p in one.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(four)) for p in four.rglob("*") if p.is_file())
    assert len(names) == 3 + 9 * 5
    for name in names:
        assert (one / name).read_bytes() == (four / name).read_bytes()


def test_phantoms_are_drawn_with_their_roles_and_can_be_moved(tmp_path, tiny):
    run_stages(tmp_path / "a", tiny, ["prepare"])
    (tmp_path / "a").rename(tmp_path / "b")
    folder = tmp_path / "b" / "prepare"
    entries = read_manifest(folder)
    roles = [entry.role for entry in entries]
    assert {role: roles.count(role) for role in roles} == {
        "teacher": 2,
        "trusted": 2,
        "unlabelled": 3,
        "test": 2,
    }
    for entry in entries:
        scan = entry.scan(folder)
        assert scan.image.is_file()
        assert scan.mask is not None
        assert scan.mask.is_file()


def test_foreground_labels_of_choice(tmp_path):
    labels = np.zeros((9, 8, 7), np.uint8)
    labels[2:4], labels[5:7] = 1, 2
    image = np.random.default_rng(0).normal(-700, 200, labels.shape).astype(np.float32)
    write_nifti(tmp_path / "data" / "imagesTr" / "a.nii.gz", image, SLOW)
    write_nifti(tmp_path / "data" / "labelsTr" / "a.nii.gz", labels, SLOW)
    folder = prepared(tmp_path, tmp_path / "data", foreground_labels=(1, 2))
    mask = StoredScan("a", folder / "scans" / "a", folder / "scans" / "a").mask
    np.testing.assert_array_equal(mask, labels > 0)


def test_at_most_so_many_patients_and_always_the_same(tmp_path, data):
    nnunet(data, 9)
    config = small(data=str(data), limit=3)
    names = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        prepare(config, tmp_path / name, tmp_path / "none")
        names.append([entry.name for entry in read_manifest(tmp_path / name)])
    assert names[0] == names[1]
    assert len(names[0]) == 3
    everything = dataclasses.replace(config, limit=50)
    (tmp_path / "c").mkdir()
    prepare(everything, tmp_path / "c", tmp_path / "none")
    assert len(read_manifest(tmp_path / "c")) == 9
