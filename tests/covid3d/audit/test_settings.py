"""A grid and a patch that fit the scans, and settings that a folder keeps."""

import dataclasses

import nibabel
import numpy as np
import pytest

from examples.covid3d.audit.settings import DEFAULTS, fitted, keep, kept
from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import write_nifti
from examples.covid3d.run.settings_file import AUDIT
from examples.covid3d.scans.readers.scan import Scan


def scans(folder, shape, affine):
    path = folder / "a.nii.gz"
    write_nifti(path, np.zeros(shape, np.uint8), np.asarray(affine, dtype=float))
    broken = folder / "b.nii.gz"
    broken.write_bytes(b"not NIfTI")
    return [Scan(p.stem, p.stem, "test", p, p) for p in (path, broken)]


def test_small_volumes_keep_their_spacing_in_the_order_of_the_body(tmp_path):
    # The first axis of the file runs up, at 3 mm.
    affine = [[0, 1, 0, 0], [0, 0, 2, 0], [3, 0, 0, 0], [0, 0, 0, 1]]
    config = fitted(DEFAULTS, scans(tmp_path, (20, 40, 33), affine), [])
    assert config.spacing == (1.0, 2.0, 3.0)
    assert config.patch == (40, 40, 24)


def test_large_volumes_are_coarsened_along_their_finest_axes(tmp_path):
    config = fitted(DEFAULTS, scans(tmp_path, (300, 300, 60), np.diag([0.7, 0.7, 5, 1])), [])
    x, y, z = config.spacing
    assert z == 5
    assert x == y > 0.7
    assert 0.9e6 < (210 / x) * (210 / y) * 60 < 1.5e6
    assert config.patch == (48, 48, 48)


def test_units_of_the_header_are_honoured(tmp_path):
    found = scans(tmp_path, (40, 40, 40), np.eye(4))
    image = nibabel.Nifti1Image(np.zeros((40, 40, 40), np.uint8), np.diag([1500, 1500, 1500, 1]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, found[0].image)
    assert fitted(DEFAULTS, found, []).spacing == (1.5, 1.5, 1.5)


def test_what_the_user_gives_stays(tmp_path):
    config = dataclasses.replace(DEFAULTS, spacing=(4.0, 4.0, 4.0))
    made = fitted(config, scans(tmp_path, (20, 20, 20), np.eye(4)), ["spacing"])
    assert made.spacing == (4.0, 4.0, 4.0)
    assert made.patch == (16, 16, 16)


def test_without_a_readable_header_a_spacing_is_asked_for(tmp_path):
    with pytest.raises(UserError, match="--spacing"):
        fitted(DEFAULTS, scans(tmp_path, (9, 9, 9), np.eye(4))[1:], [])


def test_settings_come_back_as_they_were_kept(tmp_path):
    config = dataclasses.replace(DEFAULTS, data="/d", trusted_scans=("a", "b"), student_steps=7)
    assert kept(tmp_path) is None
    keep(tmp_path, config)
    assert kept(tmp_path) == config


@pytest.mark.parametrize("content", ["", "{", "[]", '{"no such": 1}'])
def test_settings_that_cannot_be_read_are_refused(tmp_path, content):
    (tmp_path / AUDIT).write_text(content)
    with pytest.raises(UserError):
        kept(tmp_path)


def test_the_file_that_is_wrong_is_named(tmp_path):
    (tmp_path / AUDIT).write_text('{"patch": "large"}')
    with pytest.raises(UserError, match=r"^audit\.json: patch is 'large'"):
        kept(tmp_path)
