"""Small data sets in files, and records that no training made."""

from __future__ import annotations

import gzip
import io
import json
import struct

import numpy as np
from PIL import Image

from benchmarks.sets.setting import Setting
from benchmarks.trials.plans import TaskPlan
from benchmarks.trials.record import Record

SETTING = Setting("made-up", "fashion", "symmetric-40", 2, 20, 80, 16, data="made up", torch="0")
PLAN = TaskPlan(SETTING, ("plain", "plain+trusted", "clean"), (8,), (0.01, 0.03, 0.1), 3, first=0)


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


def write_photographs(folder, classes=4, per_class=30):
    """Each class has a colour of its own; people were wrong of every fourth image."""
    numbers = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        labels = numbers.permutation(np.repeat(np.arange(classes), per_class)).astype(np.uint8)
        files = []
        for label in labels:
            image = numbers.integers(0, 60, (32, 32, 3))
            image[:, :, label % 3] += 60 * (1 + label // 3)
            file = io.BytesIO()
            Image.fromarray(image.astype(np.uint8)).save(file, "JPEG")
            files.append(file.getvalue())
        given = np.where(np.arange(len(labels)) % 4 == 0, (labels + 1) % classes, labels)
        people = {"worse_label": given, "random_label1": given} if part == "train" else {}
        np.savez(
            folder / f"{part}.npz",
            jpeg=np.frombuffer(b"".join(files), np.uint8),
            offsets=np.cumsum([0, *map(len, files)]),
            clean_label=labels,
            **people,
        )
    return folder


SUBJECTS = ("river water fish boat", "stone mountain cave rock", "bread butter flour oven")


def write_rules(folder, per_class=20):
    """Three kinds of text; of three rules the last is wrong of every text it speaks of."""
    numbers = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "valid", "test"):
        entries = {}
        for number in range(3 * per_class):
            label = number % 3
            words = numbers.choice(SUBJECTS[label].split(), 4).tolist()
            said = [label if number % 2 else -1, label if number % 5 else -1, (label + 1) % 3]
            said[2] = said[2] if number % 4 == 1 else -1
            entries[str(number)] = {
                "data": {"text": f"{' '.join(words)} {part}{number}"},
                "label": label,
                "weak_labels": said,
            }
        (folder / f"{part}.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


def write_names(folder, sentences=30):
    """Capitals are people; of those in the training set every third is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    tags = {"O": 0, "B-person": 1, "I-person": 2}
    (folder / "tag_to_id.json").write_text(json.dumps(tags), encoding="utf-8")
    for part in ("train", "dev", "test"):
        content = []
        for number in range(sentences):
            found = not (part == "train" and number % 3 == 0)
            words = ["then", "came", "Anna", "Blum", "home"]
            content.append({"str_words": words, "tags": [0, 0, int(found), 2 * int(found), 0]})
        (folder / f"{part}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def record(run, test=0.5, validation=0.5, early=None):
    return Record(
        run,
        validation=[0.1 if early is None else early, validation],
        early_epoch=1 if early is None or validation >= early else 0,
        test=test,
        early_test=test,
        weight_on_clean=[0.5, 0.7],
        clean_share=0.6,
        kept=[1.0, 0.5],
        effective=[1.0, 0.5],
    )
