import numpy as np
import pytest

from examples.covid3d.augment import jittered

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
