import nibabel
import numpy as np
import pytest

from examples.covid3d.scans.nifti import load_image, load_mask
from examples.covid3d.scans.phantoms.anatomy import deflated, draw_chest
from examples.covid3d.scans.phantoms.cohort import (
    EXTENT,
    IMAGES,
    MASKS,
    Patient,
    plan_cohort,
    write_patient,
)
from examples.covid3d.scans.phantoms.fields import new_canvas
from examples.covid3d.scans.phantoms.kinds import (
    HEALTHY,
    MOTION,
    SCANNER,
    SHALLOW,
    SHARES,
    SOUND,
    deal,
)
from examples.covid3d.scans.phantoms.lesions import add_atelectasis, add_lesions
from examples.covid3d.scans.phantoms.scanner import OTHER, USUAL, breathe, scan

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
    for name, scanner in (("usual", USUAL), ("other", OTHER)):
        hu, _ = scan(np.random.default_rng(3), drawn.hu, lesions, scanner)
        assert hu.shape[2] == drawn.hu.shape[2] // scanner.slices
        assert hu.min() >= -1024
        air = hu[:6, :6]
        seen[name] = (air.mean(), np.diff(hu[:, 5:8], axis=0)[:5].std())
    assert seen["other"][0] > seen["usual"][0] + 15
    assert seen["other"][1] > 1.5 * seen["usual"][1]


def test_lungs_with_little_air_are_denser_and_nothing_else_is(chest):
    _, drawn = chest
    change = deflated(drawn, 100).hu - drawn.hu
    assert (change[~drawn.lungs] == 0).all()
    assert 80 < np.median(change[drawn.lungs]) < 120
    assert (change >= 0).all()
    # At the back, where lungs deflate first, and not in vessels.
    back, front = change[:, : change.shape[1] // 2], change[:, change.shape[1] // 2 :]
    assert back[back > 0].mean() > front[front > 0].mean() + 20
    assert (change[drawn.hu > -600] == 0).all()


def test_breathing_blurs_the_bases_and_leaves_the_apex(chest):
    canvas, drawn = chest
    hu, mask = add_lesions(np.random.default_rng(1), canvas, drawn, count=5, faintness=0.3)
    moved, marked = breathe(hu, drawn.lungs, mask, voxels=40 / SPACING)
    slices = np.flatnonzero(drawn.lungs.any((0, 1)))
    lowest, apex = slices[: len(slices) // 4], slices[-3:]
    change = np.abs(moved - hu)
    assert change[:, :, lowest].mean() > 4 * change[:, :, apex].mean() > 0
    # As many voxels as before, higher up.
    assert 0.5 * mask.sum() < marked.sum() < 1.5 * mask.sum()
    assert np.argwhere(marked)[:, 2].mean() > np.argwhere(mask)[:, 2].mean() + 1
    still, same = breathe(hu, drawn.lungs, mask, voxels=0)
    np.testing.assert_allclose(still, hu, atol=1e-3)
    np.testing.assert_array_equal(same, mask)


def test_every_first_part_of_a_deal_has_the_shares():
    shares = SHARES["unlabelled"]
    dealt = deal(shares, 40)
    assert {kind: dealt.count(kind) for kind in shares} == {
        SOUND: 16,
        SCANNER: 8,
        HEALTHY: 10,
        MOTION: 6,
    }
    for count in (1, 7, 20):
        part = dealt[:count]
        assert part == deal(shares, count)
        assert all(abs(part.count(kind) - share * count) < 1 for kind, share in shares.items())
    assert all(sum(role.values()) == pytest.approx(1) for role in SHARES.values())


def test_cohort_has_the_roles_and_kinds_asked_for():
    counts = (8, 8, 20, 16)
    patients = plan_cohort(counts)
    assert len({patient.name for patient in patients}) == sum(counts)
    for role, count in zip(("teacher", "trusted", "unlabelled", "test"), counts, strict=True):
        own = [patient for patient in patients if patient.role == role]
        assert [patient.kind for patient in own] == deal(SHARES[role], count)
        # Names tell the kind only where nobody has looked.
        words = {patient.name.split("_")[0] for patient in own}
        kinds = {patient.kind.name for patient in own}
        assert words == (kinds if role == "unlabelled" else {"expert"})
        assert {patient.source for patient in own if patient.kind.scanner is OTHER} <= {
            "phantoms of another scanner"
        }
    assert {patient.kind for patient in patients if patient.role == "teacher"} == {SOUND}


def test_kinds_are_what_they_say(tmp_path):
    seen = {}
    for kind in (SOUND, SHALLOW, SCANNER, HEALTHY, MOTION):
        patient = Patient(kind.name, "test", kind)
        write_patient(tmp_path, patient, 3, seed=2, spacing=6.0)
        path = tmp_path / IMAGES / f"{kind.name}.nii.gz"
        volume, grid = load_image(path)
        mask = load_mask(tmp_path / MASKS / path.name, path, grid)
        assert bool(mask.any()) is not kind.healthy
        # A box within either lung of this one patient: of the two, the one with less disease.
        x, y, z = (n // 2 for n in volume.shape)
        box = volume[:, y - 4 : y + 4, z - 1 : z + 1]
        lungs = min(np.median(box[x - 13 : x - 8]), np.median(box[x + 8 : x + 13]))
        seen[kind] = (lungs, grid.spacing[2])
    assert seen[SHALLOW][0] > seen[SOUND][0] + 60
    assert seen[HEALTHY][0] > seen[SOUND][0] + 60
    assert seen[SCANNER][0] > seen[SOUND][0] + 100
    assert abs(seen[MOTION][0] - seen[SOUND][0]) < 40
    assert seen[SCANNER][1] == 3 * seen[SOUND][1]


def test_files_are_reproducible_and_usable(tmp_path):
    for patient in plan_cohort((1, 1, 1, 1))[1:3]:
        for folder in ("a", "b"):
            write_patient(tmp_path / folder, patient, 5, seed=2, spacing=8.0)
        path = tmp_path / "a" / IMAGES / f"{patient.name}.nii.gz"
        volume, grid = load_image(path)
        mask = load_mask(tmp_path / "a" / MASKS / path.name, path, grid)
        assert mask.shape == volume.shape
        np.testing.assert_array_equal(volume, load_image(tmp_path / "b" / IMAGES / path.name)[0])
        assert grid.spacing[2] == 8 * patient.kind.scanner.slices
        codes = nibabel.aff2axcodes(grid.affine)
        assert codes == (("L", "P", "S") if patient.kind.scanner.flipped else ("R", "A", "S"))
