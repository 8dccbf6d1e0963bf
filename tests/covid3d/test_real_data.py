"""Real scans: geometry and intensities that no phantom has. Skipped where they are not at hand."""

import nibabel
import numpy as np
import pytest
import torch

from examples.covid3d.config import PRESETS, Config
from examples.covid3d.inference import lesion_probability
from examples.covid3d.intensity import WindowedScanWarning
from examples.covid3d.metrics import dice
from examples.covid3d.network import initial_network
from examples.covid3d.nifti import load_mask
from examples.covid3d.patches import LabelledScan, PatchSampler
from examples.covid3d.prepare import prepare_image, prepare_mask
from examples.covid3d.sources import IMAGES, MASKS, find_benchmark

PAPER = Config(spacing=(1.6, 1.6, 3.2))
THIN = "radiopaedia_4_85506_1.nii.gz"


def test_scan_of_13_slices_is_prepared_sampled_predicted_and_brought_back(real_data):
    image = real_data / "covid_ct" / IMAGES / THIN
    mask_path = real_data / "covid_ct" / MASKS / THIN
    with pytest.warns(WindowedScanWarning, match=THIN):
        scan = prepare_image(image, "thin", PAPER)
    assert scan.image.shape[2] == 12
    assert nibabel.aff2axcodes(scan.grid.affine) == ("R", "A", "S")
    mask = prepare_mask(mask_path, image, scan)
    batch = PatchSampler([LabelledScan("thin", scan.image, mask)], (32, 32, 32), 2, 1, 0, 0).draw(0)
    assert batch.masks.sum() > 0
    network = initial_network(0, torch.device("cpu"))
    probability = lesion_probability(network, scan.image, (64, 64, 32), 0.25)
    assert probability.shape == scan.image.shape
    own = scan.to_own_grid(probability)
    assert own.shape == nibabel.load(image).shape
    back = scan.to_own_grid(torch.from_numpy(mask))
    assert dice(back, load_mask(mask_path, image, scan.own_grid)) > 0.95


@pytest.mark.filterwarnings("error")
def test_hounsfield_units_of_lidc(real_data):
    image = real_data / "lidc_ct" / "LIDC-IDRI-0001_ct.nii.gz"
    scan = prepare_image(image, "lidc", PAPER)
    np.testing.assert_allclose(scan.grid.spacing, PAPER.spacing)
    assert scan.image.min() == 0
    assert scan.image.max() == 1
    # Lung, about -850 HU, is common; (-850 + 1250) / 1500 = 0.27.
    assert ((scan.image > 0.2) & (scan.image < 0.35)).mean() > 0.1
    mask = prepare_mask(image.with_name("LIDC-IDRI-0001_seg.nii.gz"), image, scan)
    # A nodule is small: its volume in millilitres survives resampling.
    own = np.asarray(nibabel.load(image.with_name("LIDC-IDRI-0001_seg.nii.gz")).dataobj)
    volume = own.sum() * np.prod(scan.own_grid.spacing)
    assert mask.sum() * np.prod(scan.grid.spacing) == pytest.approx(volume, rel=0.1)


def test_benchmark_folder_is_found_and_split_by_patient(real_data):
    config = PRESETS["small"]
    sources = find_benchmark(real_data / "covid_ct", config.shares, config.seed)
    assert len(sources) == 10
    roles = [source.role for source in sources]
    assert {role: roles.count(role) for role in roles} == {
        "teacher": 3,
        "trusted": 2,
        "unlabelled": 2,
        "test": 3,
    }
