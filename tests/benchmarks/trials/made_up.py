"""Small data sets in IDX files, and records that no training made."""

from __future__ import annotations

import gzip
import struct

import numpy as np

from benchmarks.label_noise.record import Record
from benchmarks.label_noise.settings import Plan, Settings

SETTINGS = Settings(
    pool=80,
    validation=16,
    batch=20,
    epochs=2,
    momentum=0.9,
    teacher_rate=0.05,
    confusions="next",
    data="made up",
    torch="0",
)
PLAN = Plan(("symmetric-40",), ("plain", "mixed"), (8,), (0.01, 0.03, 0.1), 3)


def idx_bytes(array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_folder(folder, classes=4, per_class=50, side=9):
    """Each class is a bright row of its own, in noise; labels are plain files, images packed."""
    numbers = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", per_class), ("t10k", 10)):
        labels = numbers.permutation(np.repeat(np.arange(classes), count))
        images = numbers.integers(0, 80, (len(labels), side, side))
        images[np.arange(len(labels)), labels * 2] += 150
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
        packed = gzip.compress(idx_bytes(images))
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(packed)
    return folder


def record(run, test=0.5, validation=0.5):
    return Record(
        run,
        validation=[0.1, validation],
        test=test,
        early_test=test,
        weight_on_clean=[0.5, 0.7],
        clean_share=0.6,
        kept=[1.0, 0.5],
        effective=[1.0, 0.5],
    )
