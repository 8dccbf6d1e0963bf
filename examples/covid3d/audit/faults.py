"""Faults that masks have in hospitals, planted where the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion

Labels = NDArray[np.uint8]
"""(X, Y, Z); 0 is background, each other number a structure."""

Fault = Callable[[Labels, Sequence[Labels], np.random.Generator], Labels]
"""From an expert's labels, those of other patients, and randomness to a faulty mask of 0 and 1."""


def _mask(labels: Labels) -> Labels:
    return (labels > 0).astype(np.uint8)


def fitted(mask: Labels, shape: Sequence[int]) -> Labels:
    """Crops a mask, or pads it with zeros, to another grid with the same centre."""
    result = np.zeros(tuple(shape), mask.dtype)
    source, target = [], []
    for have, want in zip(mask.shape, shape, strict=True):
        first = (have - want) // 2
        source.append(slice(max(0, first), max(0, first) + min(have, want)))
        target.append(slice(max(0, -first), max(0, -first) + min(have, want)))
    result[tuple(target)] = mask[tuple(source)]
    return result


def moved(mask: Labels, voxels: int, axis: int) -> Labels:
    """Moves a mask along an axis; what leaves the grid is lost, and nothing comes in."""
    result = np.zeros_like(mask)
    side = mask.shape[axis]
    source, target = [slice(None)] * 3, [slice(None)] * 3
    source[axis] = slice(max(0, -voxels), side - max(0, voxels))
    target[axis] = slice(max(0, voxels), side - max(0, -voxels))
    result[tuple(target)] = mask[tuple(source)]
    return result


def _another(labels: Labels, others: Sequence[Labels], rng: np.random.Generator) -> Labels:
    return fitted(_mask(others[int(rng.integers(len(others)))]), labels.shape)


def _mirrored(axis: int) -> Fault:
    def fault(labels: Labels, others: Sequence[Labels], rng: np.random.Generator) -> Labels:
        del others, rng
        return np.ascontiguousarray(np.flip(_mask(labels), axis))

    return fault


def _shifted(voxels: int) -> Fault:
    def fault(labels: Labels, others: Sequence[Labels], rng: np.random.Generator) -> Labels:
        del others
        return moved(_mask(labels), voxels * int(rng.choice([-1, 1])), int(rng.integers(3)))

    return fault


def _missing(structure: int) -> Fault:
    def fault(labels: Labels, others: Sequence[Labels], rng: np.random.Generator) -> Labels:
        del others, rng
        left: Labels = ((labels > 0) & (labels != structure)).astype(np.uint8)
        return left

    return fault


def _grown(voxels: int) -> Fault:
    change = binary_dilation if voxels > 0 else binary_erosion

    def fault(labels: Labels, others: Sequence[Labels], rng: np.random.Generator) -> Labels:
        del others, rng
        changed: Labels = change(labels > 0, iterations=abs(voxels)).astype(np.uint8)
        return changed

    return fault


def _empty(labels: Labels, others: Sequence[Labels], rng: np.random.Generator) -> Labels:
    del others, rng
    return np.zeros_like(labels)


FAULTS: Mapping[str, Fault] = {
    "another patient's": _another,
    "mirrored left-right": _mirrored(0),
    "mirrored front-back": _mirrored(1),
    "shifted by 1 voxel": _shifted(1),
    "shifted by 2 voxels": _shifted(2),
    "shifted by 3 voxels": _shifted(3),
    "anterior part missing": _missing(1),
    "posterior part missing": _missing(2),
    "over-drawn by 1 voxel": _grown(1),
    "over-drawn by 2 voxels": _grown(2),
    "under-drawn by 1 voxel": _grown(-1),
    "under-drawn by 2 voxels": _grown(-2),
    "empty": _empty,
}
"""Every fault by its kind. Axes and structures are those of the hippocampus volumes."""
