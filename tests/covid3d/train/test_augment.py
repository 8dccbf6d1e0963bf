import numpy as np
import pytest

from examples.covid3d.train.augment import jittered, posed

IMAGE = np.random.default_rng(0).random((12, 10, 8), dtype=np.float32)


def shaken(seed, strength, image=IMAGE):
    return jittered(image, np.random.default_rng(seed), strength)


def test_strength_0_changes_nothing():
    np.testing.assert_allclose(shaken(1, 0.0), IMAGE, atol=1e-6)


def test_changes_grow_with_the_strength_and_leave_the_input_alone():
    before = IMAGE.copy()
    change = [
        np.mean([np.abs(shaken(seed, s) - IMAGE).mean() for seed in range(10)])
        for s in (0.1, 0.5, 1.0)
    ]
    assert 0 < change[0] < change[1] < change[2]
    np.testing.assert_array_equal(IMAGE, before)


def test_draws_are_as_many_whatever_the_image():
    after = []
    for image in (IMAGE, np.zeros_like(IMAGE)):
        rng = np.random.default_rng(3)
        jittered(image, rng, 0.5)
        after.append(rng.random())
    assert after[0] == after[1]


@pytest.mark.parametrize("seed", range(5))
def test_result_is_finite_float32_of_the_same_shape(seed):
    result = shaken(seed, 1.0)
    assert result.dtype == np.float32
    assert result.shape == IMAGE.shape
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(shaken(seed, 1.0, np.zeros_like(IMAGE)), 0)


class Fixed:
    """Draws these numbers, in turn."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def uniform(self, *_):
        return np.asarray(self.draws.pop(0), dtype=float)


SPACING = (1.6, 1.6, 3.2)


def rod():
    """A rod of 32 mm along the first axis, in voxels of 1.6 x 1.6 x 3.2 mm."""
    image = np.zeros((48, 48, 24), np.float32)
    image[14:34, 22:26, 11:13] = 1
    return image, (image > 0).astype(np.uint8)


def extent(mask):
    """Size of what is marked along each axis, mm."""
    return [float(s) * (np.ptp(i) + 1) for s, i in zip(SPACING, np.nonzero(mask), strict=True)]


@pytest.mark.parametrize(("angles", "along"), [((0, 90, 0), 2), ((0, 0, 90), 1), ((0, 0, 0), 0)])
def test_a_rotation_is_one_of_space_not_of_voxels(angles, along):
    image, mask = rod()
    image, mask = posed(image, mask, Fixed(angles, (0, 0, 0)), 90, 0, SPACING)
    found = extent(mask)
    assert found[along] == pytest.approx(32.0)
    assert all(size == pytest.approx(6.4) for axis, size in enumerate(found) if axis != along)
    np.testing.assert_allclose(extent(image > 0.5), found)


@pytest.mark.parametrize("angle", [10, 30, 45, 70])
def test_no_angle_changes_a_volume(angle):
    image, mask = rod()
    rng = Fixed((angle, 0.5 * angle, -angle), (0, 0, 0))
    turned, labels = posed(image, mask, rng, 90, 0, SPACING)
    assert turned.sum() == pytest.approx(image.sum(), rel=0.05)
    assert int(labels.sum()) == pytest.approx(int(mask.sum()), rel=0.15)


def test_scaling_is_along_each_axis_about_the_centre():
    image, mask = rod()
    _, labels = posed(image, mask, Fixed((0, 0, 0), (-0.5, 0, 0)), 0, 0.5, SPACING)
    assert extent(labels) == pytest.approx([64.0, 6.4, 6.4])
    at = np.nonzero(labels)[0]
    assert at.min() + at.max() == 47


def test_what_lies_beyond_the_border_is_as_at_the_border():
    image = np.full((20, 16, 12), 0.25, np.float32)
    mask = np.ones(image.shape, np.uint8)
    for seed in range(5):
        turned, labels = posed(image, mask, np.random.default_rng(seed), 45, 0.3, SPACING)
        np.testing.assert_allclose(turned, 0.25, rtol=1e-6)
        assert labels.all()
        assert (turned.dtype, labels.dtype) == (np.float32, np.uint8)


def test_poses_draw_as_many_numbers_whatever_the_patch():
    after = []
    for shape in ((8, 8, 8), (20, 10, 4)):
        rng = np.random.default_rng(3)
        posed(np.zeros(shape, np.float32), np.zeros(shape, np.uint8), rng, 15, 0.1)
        after.append(rng.random())
    assert after[0] == after[1]
