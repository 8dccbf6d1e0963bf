from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from benchmarks.errors import UserError
from benchmarks.sets.idx import read_idx
from benchmarks.sets.idx_folder import read_images
from tests.benchmarks.trials.made_up import idx_bytes, write_folder

FASHION = Path(__file__).parents[4] / "shared" / "data" / "fashion_mnist"
# 2 images of 1 × 3 pixels, byte by byte as the format has it
IMAGES = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3, 4, 5, 255])


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
def test_bytes_by_hand(tmp_path, pack):
    path = tmp_path / "images"
    path.write_bytes(pack(IMAGES))
    np.testing.assert_array_equal(read_idx(path, 3), [[[1, 2, 3]], [[4, 5, 255]]])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (IMAGES[:-1], "5 bytes of data where its header says 2 × 1 × 3 = 6"),
        (IMAGES + b"x", "7 bytes"),
        (IMAGES[:10], "ends within its header"),
        (b"", "not an IDX file"),
        (b"\x00\x00\x0d\x03" + IMAGES[4:], "starts with 00000d03, not 00000803"),
        (gzip.compress(IMAGES)[:-12], "cannot be read"),
        (gzip.compress(IMAGES)[:20] + b"\xff" * 20, "cannot be read"),
    ],
)
def test_damaged_files_are_named_with_their_source(tmp_path, content, says):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as error:
        read_idx(path, 3)
    assert str(path) in str(error.value)
    assert "github.com/zalandoresearch/fashion-mnist" in str(error.value)


def test_a_folder_is_read_packed_or_not(tmp_path, data):
    folder = write_folder(tmp_path / "other")
    packed = folder / "train-images-idx3-ubyte.gz"
    (folder / "train-images-idx3-ubyte").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    other = read_images(folder)
    assert other.digest == data.digest
    assert other.classes == 4
    assert tuple(other.images.shape) == (200, 9, 9)


def test_a_missing_file_is_named(tmp_path):
    folder = write_folder(tmp_path)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte nor"):
        read_images(folder)


def test_images_and_labels_that_do_not_fit(tmp_path):
    folder = write_folder(tmp_path)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.array([0, 1])))
    with pytest.raises(UserError, match="200 images and 2 labels"):
        read_images(folder)


def test_a_class_without_images(tmp_path):
    folder = write_folder(tmp_path)
    labels = np.repeat([0, 2], 100)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    with pytest.raises(UserError, match="without gaps"):
        read_images(folder)


def test_fashion_mnist():
    if not FASHION.is_dir():
        pytest.skip(f"Fashion-MNIST is not at {FASHION}")
    data = read_images(FASHION)
    assert tuple(data.images.shape) == (60_000, 28, 28)
    assert data.labels.bincount().tolist() == [6000] * 10
    assert data.test_labels.bincount().tolist() == [1000] * 10
    assert data.labels[:5].tolist() == [9, 0, 0, 3, 0]
