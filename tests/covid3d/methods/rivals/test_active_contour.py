from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from examples.covid3d.measure.metrics import dice
from examples.covid3d.methods.rivals.active_contour import (
    curvature_and_laplacian,
    refine,
    region_force,
    signed_distance,
    smooth,
)

SHAPE, SPACING, RADIUS = (36, 38, 20), (1.6, 1.5, 3.2), 15.0
CENTRE = tuple(n * s / 2 for n, s in zip(SHAPE, SPACING, strict=True))


def distance_to(point, shape=SHAPE, spacing=SPACING):
    sides = [np.arange(n) * s for n, s in zip(shape, spacing, strict=True)]
    axes = np.meshgrid(*sides, indexing="ij")
    return np.sqrt(sum((a - p) ** 2 for a, p in zip(axes, point, strict=True)))


def ball(radius=RADIUS, shift=(0.0, 0.0, 0.0), shape=SHAPE, spacing=SPACING, centre=CENTRE):
    return distance_to(np.add(centre, shift), shape, spacing) <= radius


def picture(noise, seed=0):
    texture = np.random.default_rng(seed).normal(0, noise, SHAPE)
    return (0.2 + 0.5 * ball() + texture).astype(np.float32)


WRONG = {
    "eroded": ball(RADIUS - 3.5),
    "dilated": ball(RADIUS + 3.5),
    "shifted": ball(shift=(3.0, -2.0, 2.0)),
}


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.25])
@pytest.mark.parametrize("given_mask", WRONG.values(), ids=WRONG)
def test_a_wrong_mask_comes_out_better(given_mask, noise):
    refined = refine(picture(noise), given_mask, SPACING, band_mm=6, length_mm=0.5)
    before = dice(given_mask, ball())
    assert before < 0.9
    assert dice(refined, ball()) > (0.985 if noise < 0.2 else 0.92)
    assert refined.dtype == np.uint8
    assert set(np.unique(refined)) <= {0, 1}


@pytest.mark.parametrize("change", [-2.0, 2.0])
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.25])
def test_a_slightly_wrong_mask_comes_out_better_by_default(change, noise):
    given_mask = ball(RADIUS + change)
    refined = refine(picture(noise), given_mask, SPACING)
    assert dice(given_mask, ball()) < 0.85
    assert dice(refined, ball()) > 0.95


def test_a_right_mask_stays():
    assert dice(refine(picture(0.0), ball(), SPACING), ball()) == 1
    assert dice(refine(picture(0.1), ball(), SPACING), ball()) > 0.99


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 1000), band=st.floats(1.0, 8.0))
def test_never_leaves_band_or_region(seed, band):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(16, 14, 10)).astype(np.float32)
    mask = smooth(rng.normal(size=image.shape).astype(np.float32), (2.0, 2.0, 1.0)) > 0.1
    region = rng.random(image.shape) < 0.7
    refined = refine(image, mask, SPACING, band_mm=band, region=region, iterations=15)
    inner, outer = np.argwhere(mask), np.argwhere(~mask)
    for voxel in np.argwhere(refined != mask):
        other = outer if mask[tuple(voxel)] else inner
        nearest = np.sqrt((((other - voxel) * SPACING) ** 2).sum(1).min())
        assert nearest <= band + min(SPACING) / 2 + 1e-4
        assert region[tuple(voxel)]


def test_something_moves_within_a_region_and_nothing_outside_it():
    region = np.zeros(SHAPE, bool)
    region[: SHAPE[0] // 2] = True
    refined = refine(picture(0.0), WRONG["dilated"], SPACING, region=region, band_mm=6)
    np.testing.assert_array_equal(refined[~region], WRONG["dilated"][~region])
    assert dice(refined[region], ball()[region]) > 0.98


def test_empty_full_and_featureless_are_unchanged():
    image = picture(0.1)
    assert not refine(image, np.zeros(SHAPE), SPACING).any()
    assert refine(image, np.ones(SHAPE), SPACING).all()
    flat = np.full(SHAPE, -1000, np.float32)
    np.testing.assert_array_equal(refine(flat, ball(), SPACING), ball())
    nowhere = refine(image, WRONG["eroded"], SPACING, region=np.zeros(SHAPE, bool))
    np.testing.assert_array_equal(nowhere, WRONG["eroded"])


@pytest.mark.parametrize(("scale", "offset"), [(1500, -1250), (-3, 0), (1e-3, 5e-3)])
def test_scale_offset_and_sign_of_the_intensities_do_not_matter(scale, offset):
    image = picture(0.1)
    plain = refine(image, WRONG["shifted"], SPACING)
    assert dice(plain, WRONG["shifted"]) < 0.95
    other = refine(scale * image + offset, WRONG["shifted"], SPACING)
    assert dice(plain, other) > 0.999


def test_deterministic_and_inputs_untouched():
    image, mask = picture(0.2), WRONG["dilated"].astype(np.uint8)
    kept = image.copy(), mask.copy()
    np.testing.assert_array_equal(refine(image, mask, SPACING), refine(image, mask, SPACING))
    np.testing.assert_array_equal(image, kept[0])
    np.testing.assert_array_equal(mask, kept[1])


def test_what_is_far_away_does_not_matter():
    """The crop gives what the whole volume does."""
    spacing = (2.0, 2.0, 2.0)
    wide = {"shape": (60, 60, 60), "spacing": spacing, "centre": (60.0, 60.0, 60.0)}
    noise = np.random.default_rng(0).normal(0, 0.2, (60, 60, 60))
    image = (ball(10, **wide) + noise).astype(np.float32)
    mask = ball(7.5, **wide)
    other = image.copy()
    far = ~ball(50, **wide)
    other[far] = 100
    one = refine(image, mask, spacing, sigma_mm=3, band_mm=4)
    assert dice(one, ball(10, **wide)) > 0.9
    np.testing.assert_array_equal(one, refine(other, mask, spacing, sigma_mm=3, band_mm=4))


def test_the_crop_is_wide_enough():
    """A far second component, which may not change, widens the crop and changes nothing else."""
    shape, spacing = (40, 100, 40), (2.0, 2.0, 2.0)
    first = distance_to((40, 40, 40), shape, spacing)
    # The bright shell is beyond the band, and within the Gaussian's reach of it.
    image = (first <= 12) + 3 * (first > 18) + np.random.default_rng(0).normal(0, 0.3, shape)
    region = np.zeros(shape, bool)
    region[:, :45] = True
    settings = {"region": region, "sigma_mm": 5, "band_mm": 5, "tolerance": 0}
    mask = first <= 9
    alone = refine(image, mask, spacing, **settings)
    mask |= distance_to((40, 180, 40), shape, spacing) <= 8
    mask[0, :, 0] |= np.arange(100) > 60
    both = refine(image, mask, spacing, **settings)
    assert (alone != (first <= 9)).any()
    np.testing.assert_array_equal(alone[region], both[region])


def test_smooth_is_scipys_gaussian():
    volume = np.random.default_rng(0).normal(size=(9, 12, 7)).astype(np.float32)
    sigma = (2.0, 0.7, 1.3)
    expected = gaussian_filter(volume, sigma, mode="nearest", truncate=2)
    np.testing.assert_allclose(smooth(volume, sigma), expected, atol=1e-6)


@pytest.mark.parametrize("length", [4.0, 16.0])
def test_a_stiff_contour_shrinks_at_the_speed_of_curvature_and_stays_smooth(length):
    """Too long a step would let it collapse: 40 steps of at most 0.13 kappa voxels."""
    far = distance_to((15, 15, 15), (31, 31, 31), (1, 1, 1))
    image = np.random.default_rng(0).normal(size=far.shape)
    refined = refine(
        image, far <= 9, (1, 1, 1), length_mm=length, band_mm=5, iterations=40, tolerance=0
    )
    assert (far <= 7.6).sum() < refined.sum() < (far <= 8.7).sum()
    assert refined[far <= 7].all()
    assert not refined[far > 9].any()


def fitting_energy(image, inside, sigma):
    """The region-scalable fitting energy with the best f_1 and f_2, summed over the voxels."""
    total = 0.0
    for part in (inside, 1 - inside):
        mass, first, second = (smooth(part * image**k, sigma) for k in range(3))
        total += float((second - first**2 / np.maximum(mass, 1e-9)).sum())
    return total


def test_energy_does_not_increase_on_a_clean_image():
    sigma = tuple(4.0 / s for s in SPACING)
    image = picture(0.0).astype(np.float64)
    for mask in WRONG.values():
        stages = [
            refine(image, mask, SPACING, iterations=n, tolerance=0, band_mm=6, length_mm=0.5)
            for n in range(0, 30, 2)
        ]
        energies = [fitting_energy(image, stage.astype(float), sigma) for stage in stages]
        assert np.diff(energies).max() <= 1e-3 * energies[0]
        assert energies[-1] < 0.2 * energies[0]


def test_force_is_the_double_sum_of_the_source():
    rng = np.random.default_rng(0)
    image, inside = rng.random((4, 5, 3)), rng.random((4, 5, 3))
    sigma = (1.2, 0.8, 1.0)
    # The kernel as a matrix: the response to a unit impulse at each voxel.
    n = image.size
    kernel = np.stack([smooth(e.reshape(image.shape), sigma).ravel() for e in np.eye(n)], axis=1)
    flat, m = image.ravel(), inside.ravel()
    f = [(kernel @ (w * flat)) / (kernel @ w) for w in (m, 1 - m)]
    e = [[sum(kernel[y, x] * (flat[y] - g[x]) ** 2 for x in range(n)) for y in range(n)] for g in f]
    expected = np.array(e[1]) - np.array(e[0])
    force = region_force(image, smooth(image, sigma), inside, sigma)
    np.testing.assert_allclose(force.ravel(), expected, atol=1e-6)


def test_curvature_and_laplacian_of_a_ball():
    shape, spacing, centre = (40, 40, 30), (1.0, 1.2, 1.5), (20.0, 24.0, 22.0)
    r = distance_to(centre, shape, spacing)
    kappa, laplacian = curvature_and_laplacian((12 - r).astype(np.float32), spacing)
    shell = np.abs(r - 12) < 2
    np.testing.assert_allclose(kappa[shell], -2 / r[shell], rtol=0.05)
    np.testing.assert_allclose(laplacian[shell], -2 / r[shell], rtol=0.05)


def test_signed_distance_by_hand():
    inside = np.array([0, 0, 1, 1, 0], bool).reshape(5, 1, 1)
    np.testing.assert_allclose(
        signed_distance(inside, (2.0, 3.0, 3.0)).ravel(), [-3.0, -1.0, 1.0, 1.0, -1.0]
    )


def test_bad_arguments():
    image = picture(0.0)
    with pytest.raises(ValueError, match="shapes"):
        refine(image, ball()[:-1], SPACING)
    with pytest.raises(ValueError, match="above 0"):
        refine(image, ball(), SPACING, sigma_mm=0)
    image[SHAPE[0] // 2, SHAPE[1] // 2, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        refine(image, ball(), SPACING, band_mm=50)
