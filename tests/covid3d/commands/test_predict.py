"""Masks of new scans, each on its own grid, by one network or several."""

import dataclasses
import errno
import re
import shutil

import nibabel
import numpy as np
import pytest
import torch

from examples.covid3d.commands import predict as command
from examples.covid3d.commands.predict import read_inputs
from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import read_csv, write_nifti, write_torch
from examples.covid3d.measure.metrics import dice
from examples.covid3d.scans.prepare_scan import prepare_image
from examples.covid3d.scans.readers.scan import Found, Rejected, Scan
from examples.covid3d.scans.store import to_grid
from examples.covid3d.train.inference import foreground_probability, load_network
from examples.covid3d.train.network import initial_network
from tests.covid3d.running import small

CPU = torch.device("cpu")


def predict(*arguments, **options):
    """The masks that one row makes."""
    return command.predict(*arguments, method="rgs", **options).masks


CONFIG = small(overlap=0.5, spacing=(2.0, 2.0, 2.0))
TURN = np.array([[0, -2.5, 0, 40], [1.2, 0, 0, -7], [0, 0, -3.1, 90], [0, 0, 0, 1.0]])
AFFINES = {
    "anisotropic": np.diag([1.3, 2.2, 4.0, 1.0]),
    "flipped": np.array([[-2.0, 0, 0, 50], [0, -2.0, 0, 60], [0, 0, 3.0, -9], [0, 0, 0, 1]]),
    "turned": TURN,
    "oblique": nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(0.2, 0.1, 0.05)) @ TURN,
}


class Bright(torch.nn.Module):
    """Foreground is what is brighter than -500 HU: a network whose answer is known."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(50.0))

    def forward(self, images):
        logits = (images[:, 0] - 0.5) * self.scale
        return torch.stack([-logits, logits], 1)


@pytest.fixture
def weights(tmp_path):
    """Two networks with different weights."""
    paths = []
    for seed in (0, 1):
        paths.append(tmp_path / f"{seed}.pt")
        write_torch(paths[-1], initial_network(seed, CPU, (4, 8)).state_dict())
    return paths


def chest(shape=(30, 26, 14), seed=0):
    mask = np.zeros(shape, np.uint8)
    mask[6:18, 8:20, 3:10] = 1
    noise = np.random.default_rng(seed).normal(0, 40, shape)
    return (-950 + 800.0 * mask + noise).astype(np.float32), mask


@pytest.mark.parametrize("name", AFFINES)
def test_masks_are_on_the_scan_s_own_grid(tmp_path, monkeypatch, weights, name):
    image, mask = chest()
    write_nifti(tmp_path / "in" / "scan.nii.gz", image, AFFINES[name])
    monkeypatch.setattr("examples.covid3d.commands.predict.load_network", lambda *_: Bright())
    scans = read_inputs(tmp_path / "in" / "scan.nii.gz")
    (path,) = predict(scans, weights[:1], CONFIG, tmp_path / "out", CPU)
    found = nibabel.load(path)
    assert path == tmp_path / "out" / "scan.nii.gz"
    assert found.shape == image.shape
    np.testing.assert_allclose(found.affine, AFFINES[name], atol=1e-4)
    assert found.get_data_dtype() == np.uint8
    # Resampled there and back, a box keeps its place; flipped or shifted, it would not.
    assert dice(np.asarray(found.dataobj), mask) > 0.85


def test_several_networks_are_averaged_before_the_threshold(tmp_path, weights):
    image, _ = chest()
    write_nifti(tmp_path / "scan.nii.gz", image, AFFINES["anisotropic"])
    scans = read_inputs(tmp_path / "scan.nii.gz")
    (path,) = predict(scans, weights, CONFIG, tmp_path / "out", CPU)
    whole, grids, _ = prepare_image(scans.scans[0], CONFIG)
    each = [foreground_probability(load_network(w, CPU), whole, CONFIG.patch, 0.5) for w in weights]
    expected = to_grid((each[0] + each[1]) / 2, grids["grid"], grids["own_grid"])
    np.testing.assert_array_equal(np.asarray(nibabel.load(path).dataobj), expected)
    singles = [to_grid(one, grids["grid"], grids["own_grid"]) for one in each]
    assert any((expected != one).any() for one in singles)


@pytest.mark.parametrize("axes", [(0,), (0, 1), (0, 1, 2)])
def test_flip_averaging_is_the_mean_over_explicit_flips(axes):
    network = initial_network(3, CPU, (4, 8))
    whole = np.random.default_rng(0).random((20, 16, 24), dtype=np.float32)
    found = foreground_probability(network, whole, (16, 16, 16), 0.25, axes)
    total = torch.zeros(whole.shape)
    count = 0
    for bits in range(2 ** len(axes)):
        chosen = [axis for i, axis in enumerate(axes) if bits >> i & 1]
        turned = np.ascontiguousarray(np.flip(whole, chosen))
        total += foreground_probability(network, turned, (16, 16, 16), 0.25).flip(chosen)
        count += 1
    torch.testing.assert_close(found, total / count, atol=1e-6, rtol=0)
    plain = foreground_probability(network, whole, (16, 16, 16), 0.25)
    assert not torch.allclose(found, plain, atol=1e-4)
    # Averaged over its flips, an answer no longer depends on them.
    flipped = foreground_probability(
        network, np.ascontiguousarray(np.flip(whole, 0)), (16, 16, 16), 0.25, axes
    )
    torch.testing.assert_close(flipped.flip(0), found, atol=1e-6, rtol=0)


def test_inference_leaves_mode_and_statistics_and_ignores_autocast():
    network = initial_network(3, CPU, (4, 8)).train()
    whole = np.random.default_rng(0).random((16, 16, 16), dtype=np.float32)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    plain = foreground_probability(network, whole, (16, 16, 16), 0.0)
    with torch.autocast("cpu", torch.bfloat16):
        half = foreground_probability(network, whole, (16, 16, 16), 0.0)
    assert torch.equal(plain, half)
    assert plain.dtype == torch.float32
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_unreadable_scans_are_skipped_and_said(tmp_path, capsys, weights):
    image, _ = chest()
    write_nifti(tmp_path / "good.nii.gz", image, np.eye(4))
    (tmp_path / "bad.nii.gz").write_bytes(b"nothing")
    scans = [
        Scan(name, name, "x", tmp_path / f"{name}.nii.gz", None) for name in ("bad", "good", "gone")
    ]
    found = Found(scans, [Rejected("folder/broken", "no image")])
    done = command.predict(found, weights[:1], CONFIG, tmp_path / "out", CPU, method="rgs")
    assert done.masks == [tmp_path / "out" / "good.nii.gz"]
    said = capsys.readouterr().err
    assert "bad.nii.gz: cannot be read" in said
    assert re.search("No such file .*gone.nii.gz", said)
    rows = read_csv(tmp_path / "out" / "predictions.csv")
    skipped = {row["scan"]: row["reason"] for row in rows if row["status"] == "skipped"}
    assert skipped.keys() == {"folder/broken", *(str(scans[i].image) for i in (0, 2))}
    assert skipped["folder/broken"] == "no image"
    assert [row["scan"] for row in rows if row["status"] == "segmented"] == ["good"]
    with pytest.raises(UserError, match=r"none of 1 scans could be read; the first: .*bad\.nii"):
        predict(Found(scans[:1], []), weights[:1], CONFIG, tmp_path / "none", CPU)


def test_a_disk_that_fails_stops_the_command_and_skips_no_scan(tmp_path, weights, monkeypatch):
    def fail(*_):
        raise UserError("cannot be read") from OSError(errno.EIO, "Input/output error")

    write_nifti(tmp_path / "scan.nii.gz", chest()[0], np.eye(4))
    monkeypatch.setattr(command, "prepare_image", fail)
    scans = read_inputs(tmp_path / "scan.nii.gz")
    with pytest.raises(OSError, match="Input/output error"):
        predict(scans, weights[:1], CONFIG, tmp_path / "out", CPU)
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_masks_that_are_there_are_kept_and_those_of_another_network_refused(tmp_path, weights):
    image, _ = chest()
    write_nifti(tmp_path / "scan.nii.gz", image, np.eye(4))
    scans = read_inputs(tmp_path / "scan.nii.gz")
    (path,) = predict(scans, weights[:1], CONFIG, tmp_path / "out", CPU)
    path.write_bytes(b"kept")
    predict(scans, weights[:1], CONFIG, tmp_path / "out", CPU)
    assert path.read_bytes() == b"kept"
    for others, config, more in (
        (weights[1:], CONFIG, {}),
        (weights, CONFIG, {}),
        (weights[:1], dataclasses.replace(CONFIG, overlap=0.25), {}),
        (weights[:1], CONFIG, {"flip_average": True}),
        (weights[:1], CONFIG, {"overlap": 0.1}),
    ):
        with pytest.raises(UserError, match="masks of other networks or settings"):
            predict(scans, others, config, tmp_path / "out", CPU, **more)
    assert path.read_bytes() == b"kept"


class TestMasksOfAnotherScan:
    """Two patients' scans may have one name; a mask never goes to the wrong one."""

    @pytest.fixture
    def segmented(self, tmp_path, weights):
        image, _ = chest()
        write_nifti(tmp_path / "anna" / "scan.nii.gz", image, np.eye(4))
        write_nifti(tmp_path / "berta" / "scan.nii.gz", image[::-1], np.eye(4))

        def go(patient):
            scans = read_inputs(tmp_path / patient / "scan.nii.gz")
            return predict(scans, weights[:1], CONFIG, tmp_path / "out", CPU)

        (path,) = go("anna")
        path.write_bytes(b"kept")
        return go, path

    def test_of_the_same_name_are_refused(self, segmented):
        go, path = segmented
        with pytest.raises(UserError, match=r"not the mask of .*berta.scan"):
            go("berta")
        assert path.read_bytes() == b"kept"
        assert go("anna") == [path]

    def test_or_of_the_same_file_before_it_changed(self, segmented, tmp_path):
        go, path = segmented
        write_nifti(tmp_path / "anna" / "scan.nii.gz", chest((30, 26, 15))[0], np.eye(4))
        with pytest.raises(UserError, match="not the mask of"):
            go("anna")
        assert path.read_bytes() == b"kept"

    def test_but_a_copy_of_the_same_bytes_is_the_same_scan(self, segmented, tmp_path):
        go, path = segmented
        (tmp_path / "berta" / "scan.nii.gz").unlink()
        shutil.copyfile(tmp_path / "anna" / "scan.nii.gz", tmp_path / "berta" / "scan.nii.gz")
        assert go("berta") == [path]
        assert path.read_bytes() == b"kept"

    def test_or_that_nothing_tells_whose_they_are(self, segmented, tmp_path):
        go, path = segmented
        (tmp_path / "out" / ".sources" / "scan.json").unlink()
        with pytest.raises(UserError, match="remove that mask"):
            go("anna")
        path.unlink()
        assert go("anna") == [path]
        assert nibabel.load(path).shape == (30, 26, 14)
