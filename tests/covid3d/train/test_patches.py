import dataclasses

import numpy as np
import pytest
import torch

from examples.covid3d.train import lesson
from examples.covid3d.train.patches import LabelledScan, PatchSampler, cut

PATCH = (32, 32, 32)


def a_scan(name, shape, lesion=None):
    image = np.random.default_rng(len(name)).random(shape, dtype=np.float32)
    mask = np.zeros(shape, dtype=np.uint8)
    if lesion is not None:
        mask[lesion] = 1
    return LabelledScan(name, image, mask)


@pytest.fixture
def scans():
    return [
        a_scan("far", (80, 70, 60), (78, 2, 59)),
        a_scan("none", (64, 64, 40)),
        a_scan("thin", (60, 64, 13), (30, 30, 6)),
    ]


def test_batches_depend_on_seed_and_step_alone(scans):
    def draw(seed, stream, step):
        return PatchSampler(scans, PATCH, 4, 0.5, seed, stream).draw(step)

    sampler = PatchSampler(scans, PATCH, 4, 0.5, 1, 0)
    sampler.draw(3)
    a, b = sampler.draw(9), draw(1, 0, 9)
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.masks, b.masks)
    assert (a.names, a.origins) == (b.names, b.origins)
    for other in (draw(2, 0, 9), draw(1, 1, 9), draw(1, 0, 10)):
        assert not torch.equal(a.images, other.images)


def test_shapes_and_types(scans):
    batch = PatchSampler(scans, (48, 32, 32), 5, 0.5, 0, 0).draw(0)
    assert batch.images.shape == (5, 1, 48, 32, 32)
    assert batch.masks.shape == (5, 48, 32, 32)
    assert batch.images.dtype == torch.float32
    assert batch.masks.dtype == torch.int64


def test_foreground_patches_hold_the_lesion_and_scans_without_one_are_drawn_too(scans):
    sampler = PatchSampler(scans, PATCH, 2, 1.0, 0, 0)
    names = set()
    for step in range(20):
        batch = sampler.draw(step)
        names |= set(batch.names)
        for name, mask in zip(batch.names, batch.masks, strict=True):
            assert mask.sum() == (0 if name == "none" else 1)
    assert names == {"far", "none", "thin"}


def test_a_batch_takes_different_scans_while_there_are_enough(scans):
    sampler = PatchSampler(scans, PATCH, 3, 0.5, 0, 0)
    assert all(len(set(sampler.draw(step).names)) == 3 for step in range(10))


def test_scan_thinner_than_the_patch_is_padded_with_air(scans):
    batch = PatchSampler(scans[2:], PATCH, 2, 1.0, 0, 0).draw(0)
    assert (batch.images[..., 13:] == 0).all()
    assert (batch.images[..., :13] > 0).any()


def test_origins_tell_where_the_patch_came_from_up_to_flips(scans):
    sampler = PatchSampler(scans, PATCH, 3, 0.5, 0, 0)
    by_name = {scan.name: scan for scan in scans}
    flipped = set()
    for step in range(10):
        batch = sampler.draw(step)
        for image, name, origin in zip(batch.images, batch.names, batch.origins, strict=True):
            patch = cut(by_name[name].image, origin, PATCH)
            matches = [
                axes
                for axes in ((), (0,), (1,), (0, 1))
                if np.array_equal(np.flip(patch, axes), image[0].numpy())
            ]
            assert len(matches) == 1
            flipped.add(matches[0])
    assert flipped == {(), (0,), (1,), (0, 1)}


def test_no_scan_is_refused():
    with pytest.raises(ValueError, match="no scan"):
        PatchSampler([], PATCH, 2, 0.5, 0, 0)


def test_a_cut_beyond_the_far_ends_is_padded_with_zeros():
    volume = np.arange(1, 4 * 3 * 2 + 1, dtype=np.float32).reshape(4, 3, 2)
    found = cut(volume, (2, 0, 1), (4, 3, 3))
    expected = np.zeros((4, 3, 3), np.float32)
    expected[:2, :, :1] = volume[2:, :, 1:]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("axes", [(), (2,), (0, 1, 2)])
def test_only_the_axes_asked_for_are_flipped(scans, axes):
    seen = set()
    for step in range(40):
        sampler = PatchSampler(scans[:1], PATCH, 1, 0.0, 0, 0, flip_axes=axes)
        batch = sampler.draw(step)
        patch = cut(scans[0].image, batch.origins[0], PATCH)
        every = [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
        (found,) = [f for f in every if np.array_equal(np.flip(patch, f), batch.images[0, 0])]
        assert set(found) <= set(axes)
        seen.add(found)
    assert len(seen) == 2 ** len(axes)


def test_jitter_changes_the_image_and_leaves_place_and_mask(scans):
    plain = PatchSampler(scans, PATCH, 3, 1.0, 0, 0)
    shaken = PatchSampler(scans, PATCH, 3, 1.0, 0, 0, jitter=1.0)
    a, b = plain.draw(4), shaken.draw(4)
    assert a.names == b.names
    assert a.origins[0] == b.origins[0]
    assert torch.equal(a.masks[0], b.masks[0])
    assert not torch.equal(a.images[0], b.images[0])
    assert b.images.isfinite().all()
    assert torch.equal(b.images, shaken.draw(4).images)


def test_rotations_know_the_voxel_size(scans):
    drawn = [
        PatchSampler(scans, PATCH, 3, 1.0, 0, 0, rotation=40.0, spacing=spacing).draw(4).images
        for spacing in ((1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (1.6, 1.6, 3.2))
    ]
    # Of the first, the same random numbers; only the ratio of the sides counts.
    torch.testing.assert_close(drawn[0][0], drawn[1][0])
    assert not torch.allclose(drawn[0][0], drawn[2][0], atol=1e-3)


def test_trainings_tell_the_sampler_their_voxel_size(taught, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(lesson, "PatchSampler", lambda *_, **rest: given.append(rest["spacing"]))
    monkeypatch.setattr(lesson, "Ahead", lambda sampler: sampler)
    config = dataclasses.replace(taught.config, spacing=(1.6, 1.6, 3.2))
    one = taught.lesson(taught.replicates()[0], tmp_path)
    dataclasses.replace(one, config=config).sampler(one.teacher_scans(), 1)
    assert given == [(1.6, 1.6, 3.2)]
