import nibabel
import numpy as np
import pytest

from examples.covid3d.scans.nifti import load_image, load_mask
from examples.covid3d.scans.phantoms.anatomy import draw_chest
from examples.covid3d.scans.phantoms.cohort import EXTENT, IMAGES, MASKS, plan_cohort, write_patient
from examples.covid3d.scans.phantoms.fields import new_canvas
from examples.covid3d.scans.phantoms.lesions import add_atelectasis, add_lesions
from examples.covid3d.scans.phantoms.scanner import EXPERT, HOSPITAL, scan

SPACING = 4.0


@pytest.fixture(scope="module")
def chest():
    canvas = new_canvas(EXTENT, SPACING)
    return canvas, draw_chest(np.random.default_rng(0), canvas)


def test_a_chest_has_air_lung_fat_muscle_and_bone(chest):
    canvas, drawn = chest
    assert drawn.hu.shape == canvas.shape == drawn.lungs.shape
    assert drawn.hu[0, 0, 0] == -1000
    assert -900 < np.median(drawn.hu[drawn.lungs]) < -780
    litres = drawn.lungs.sum() * SPACING**3 / 1e6
    assert 2 < litres < 7
    for low, high in ((-120, -60), (20, 80), (250, 450)):
        assert ((drawn.hu > low) & (drawn.hu < high)).mean() > 0.005


def test_lesions_are_in_the_lungs_and_denser_than_they_were(chest):
    canvas, drawn = chest
    hu, mask = add_lesions(np.random.default_rng(1), canvas, drawn, count=5, faintness=0.3)
    assert mask.any()
    assert not (mask & ~drawn.lungs).any()
    assert (hu >= drawn.hu - 1e-3)[~mask].all()
    assert np.median(hu[mask]) > np.median(drawn.hu[drawn.lungs]) + 100
    np.testing.assert_array_equal(hu[~mask], drawn.hu[~mask])


def test_no_lesion_leaves_the_chest_alone(chest):
    canvas, drawn = chest
    hu, mask = add_lesions(np.random.default_rng(1), canvas, drawn, count=0, faintness=0.3)
    assert not mask.any()
    np.testing.assert_array_equal(hu, drawn.hu)


def test_atelectasis_is_at_the_back_of_the_lungs(chest):
    canvas, drawn = chest
    changed = add_atelectasis(np.random.default_rng(2), canvas, drawn).hu - drawn.hu
    assert (changed >= 0).all()
    where = np.argwhere(changed > 50)
    assert len(where)
    assert drawn.lungs[tuple(where.T)].all()
    assert canvas.y.ravel()[where[:, 1]].max() < 5


def test_scanners_differ_in_slices_noise_and_calibration(chest):
    _, drawn = chest
    lesions = np.zeros(drawn.hu.shape, dtype=bool)
    seen = {}
    for name, scanner in (("expert", EXPERT), ("hospital", HOSPITAL)):
        hu, _ = scan(np.random.default_rng(3), drawn.hu, lesions, scanner)
        assert hu.shape[2] == drawn.hu.shape[2] // scanner.slices
        assert hu.min() >= -1024
        air = hu[:6, :6]
        seen[name] = (air.mean(), np.diff(hu[:, 5:8], axis=0)[:5].std())
    assert seen["hospital"][0] > seen["expert"][0] + 15
    assert seen["hospital"][1] > 1.5 * seen["expert"][1]


def test_cohort_has_the_roles_asked_for_and_some_healthy_patients():
    patients = plan_cohort((8, 6, 12, 8))
    assert len({patient.name for patient in patients}) == 34
    roles = [patient.role for patient in patients]
    assert [roles.count(role) for role in ("teacher", "trusted", "unlabelled", "test")] == [
        8,
        6,
        12,
        8,
    ]
    for role, scanners in (
        ("teacher", {EXPERT}),
        ("trusted", {EXPERT}),
        ("unlabelled", {HOSPITAL}),
        ("test", {EXPERT, HOSPITAL}),
    ):
        own = [patient for patient in patients if patient.role == role]
        assert {patient.scanner for patient in own} == scanners
        assert {patient.healthy for patient in own} == {True, False}


def test_files_are_reproducible_and_usable(tmp_path):
    for patient in plan_cohort((1, 1, 1, 1))[1:3]:
        for folder in ("a", "b"):
            write_patient(tmp_path / folder, patient, 5, seed=2, spacing=8.0)
        path = tmp_path / "a" / IMAGES / f"{patient.name}.nii.gz"
        volume, grid = load_image(path)
        mask = load_mask(tmp_path / "a" / MASKS / path.name, path, grid)
        assert mask.shape == volume.shape
        np.testing.assert_array_equal(volume, load_image(tmp_path / "b" / IMAGES / path.name)[0])
        assert grid.spacing[2] == 8 * patient.scanner.slices
        codes = nibabel.aff2axcodes(grid.affine)
        assert codes == (("L", "P", "S") if patient.scanner.flipped else ("R", "A", "S"))
