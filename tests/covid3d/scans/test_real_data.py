"""Real scans: geometry and intensities that no phantom has. Skipped where they are not at hand."""

import dataclasses

import nibabel
import numpy as np
import pytest
import torch

from examples.covid3d.commands.predict import predict, read_inputs
from examples.covid3d.common.config import Config
from examples.covid3d.measure.metrics import dice
from examples.covid3d.run.presets import PRESETS
from examples.covid3d.scans.intensity import WindowedScanWarning
from examples.covid3d.scans.nifti import load_mask
from examples.covid3d.scans.phantoms.cohort import IMAGES, MASKS
from examples.covid3d.scans.prepare_scan import on_grid, own_mask, prepare_image
from examples.covid3d.scans.readers import read_dataset
from examples.covid3d.scans.readers.scan import Scan
from examples.covid3d.scans.splits import counts_of
from examples.covid3d.scans.store import to_grid
from examples.covid3d.train.inference import foreground_probability
from examples.covid3d.train.network import initial_network
from examples.covid3d.train.patches import LabelledScan, PatchSampler

PAPER = Config(spacing=(1.6, 1.6, 3.2))
CPU = torch.device("cpu")
THIN = "radiopaedia_4_85506_1"
LIDC = "LIDC-IDRI-0001"


def lidc(folder):
    return Scan(LIDC, LIDC, "x", folder / f"{LIDC}_ct.nii.gz", folder / f"{LIDC}_seg.nii.gz")


def test_scan_of_13_slices_is_prepared_sampled_predicted_and_brought_back(real_data):
    folder = real_data / "covid_ct"
    image, mask_path = (folder / kind / f"{THIN}.nii.gz" for kind in (IMAGES, MASKS))
    scan = Scan(THIN, THIN, "benchmark", image, mask_path)
    with pytest.warns(WindowedScanWarning, match=THIN):
        whole, grids, found = prepare_image(scan, PAPER)
    assert whole.shape[2] == 12
    assert found["scale"] == "0..255"
    assert nibabel.aff2axcodes(grids["grid"].affine) == ("R", "A", "S")
    mask = on_grid(own_mask(scan, grids["own_grid"], PAPER), grids)
    batch = PatchSampler([LabelledScan("thin", whole, mask)], (32, 32, 32), 2, 1, 0, 0).draw(0)
    assert batch.masks.sum() > 0
    network = initial_network(0, CPU, (4, 8, 16))
    probability = foreground_probability(network, whole, (64, 64, 32), 0.25)
    assert probability.shape == whole.shape
    own = to_grid(probability, grids["grid"], grids["own_grid"])
    assert own.shape == nibabel.load(image).shape
    back = to_grid(torch.from_numpy(mask), grids["grid"], grids["own_grid"])
    assert dice(back, load_mask(mask_path, image, grids["own_grid"])) > 0.95


@pytest.mark.filterwarnings("error")
def test_hounsfield_units_of_lidc(real_data):
    scan = lidc(real_data / "lidc_ct")
    whole, grids, found = prepare_image(scan, PAPER)
    np.testing.assert_allclose(grids["grid"].spacing, PAPER.spacing)
    assert (found["low"], found["high"], found["scale"]) == (-2048, 3071, "HU")
    assert whole.min() == 0
    assert whole.max() == 1
    # Lung, about -850 HU, is common; (-850 + 1250) / 1500 = 0.27.
    assert ((whole > 0.2) & (whole < 0.35)).mean() > 0.1
    mask = on_grid(own_mask(scan, grids["own_grid"], PAPER), grids)
    # A nodule is small: its volume in millilitres survives resampling.
    own = np.asarray(nibabel.load(scan.mask).dataobj)
    volume = own.sum() * np.prod(grids["own_grid"].spacing)
    assert mask.sum() * np.prod(grids["grid"].spacing) == pytest.approx(volume, rel=0.1)


class Truth(torch.nn.Module):
    """Calls foreground what is dense: enough to see where a mask ends up."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(40.0))

    def forward(self, images):
        logits = (images[:, 0] - 0.9) * self.scale
        return torch.stack([-logits, logits], 1)


def test_lidc_predicted_on_its_own_grid(real_data, tmp_path, monkeypatch):
    config = dataclasses.replace(PAPER, spacing=(2.8, 2.8, 5.0), patch=(64, 64, 32), overlap=0.0)
    monkeypatch.setattr("examples.covid3d.commands.predict.load_network", lambda *_: Truth())
    inputs = read_inputs(real_data / "lidc_ct" / f"{LIDC}_ct.nii.gz")
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"")
    (path,) = predict(inputs, [weights], config, tmp_path, CPU, method="equal").masks
    found, scan = nibabel.load(path), nibabel.load(inputs.scans[0].image)
    assert found.shape == scan.shape
    np.testing.assert_allclose(found.affine, scan.affine, atol=1e-3)
    # (0.9 * 1500 - 1250) HU: soft tissue and bone, where the scan itself has them.
    dense = np.asarray(scan.dataobj) > 100
    marked = np.asarray(found.dataobj).astype(bool)
    shifted = np.roll(dense, 12, axis=0)
    assert dice(marked, dense) > 0.6
    assert dice(marked, dense) > dice(marked, shifted) + 0.15


def test_lidc_written_as_dicom_is_prepared_to_the_same_array(real_data, tmp_path):
    dicom_files = pytest.importorskip("tests.covid3d.scans.readers.dicom_files")
    scan = lidc(real_data / "lidc_ct")
    image = nibabel.load(scan.image)
    volume = np.asarray(image.dataobj)
    dicom_files.write_series(tmp_path / "case", volume, image.affine)
    (found,) = read_dataset("hospital", tmp_path).scans
    assert found.series is not None
    ours, our_grids, stats = prepare_image(found, PAPER)
    theirs, their_grids, expected = prepare_image(scan, PAPER)
    for name in ("grid", "own_grid"):
        np.testing.assert_allclose(our_grids[name].affine, their_grids[name].affine, atol=1e-3)
    assert (stats["low"], stats["high"]) == (expected["low"], expected["high"])
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_the_small_preset_deals_out_the_ten_scans_of_covid_ct(real_data):
    found = read_dataset("benchmark", real_data / "covid_ct")
    assert len(found.scans) == 10
    assert found.rejected == []
    patients = {scan.patient for scan in found.scans}
    assert counts_of(len(patients), PRESETS["small"].shares) == [3, 2, 2, 3]
