"""Settings of an audit: its defaults, a grid that fits the scans, and what its folder keeps."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

from examples.covid3d.common.config import Config, from_json, to_json
from examples.covid3d.common.errors import UserError, problem
from examples.covid3d.common.files import read_json, write_json
from examples.covid3d.run.settings_file import AUDIT, CONFIG
from examples.covid3d.scans.geometry import Grid, with_spacing
from examples.covid3d.scans.readers.scan import Scan
from examples.covid3d.scans.volumes import grid_of

_log = logging.getLogger("examples.covid3d")

# Two cores segment a volume of so many voxels in a few seconds, whatever the scanner's own grid.
_MOST_VOXELS = 1_500_000
_LONGEST_PATCH = 48
_HEADERS_READ = 50

DEFAULTS = Config(
    preset="audit",
    channels=(16, 32, 64, 128),
    learning_rate=1e-2,
    schedule="cosine",
    student_steps=200,
    student_start="scratch",
    flip_axes=(0,),
    foreground=0.5,
    rotation=15.0,
    scaling=0.15,
    overlap=0.25,
    checkpoint_every=25,
    validate_every=1_000_000,
)
"""Chosen on the hippocampus set, for a training of minutes on two cores."""


def kept(out: Path) -> Config | None:
    """The settings of an audit's folder; None where none has begun.

    Raises:
        UserError: If they cannot be read, or the folder is that of a run.
    """
    if (out / CONFIG).exists():
        raise problem(
            out, "the folder of a run", "a folder for the audit alone", "choose another --out"
        )
    path = out / AUDIT
    if not path.exists():
        return None
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise problem(
            path, "cannot be read", "the settings of an audit", "remove it, or choose another --out"
        )
    return from_json(content, AUDIT)


def keep(out: Path, config: Config) -> None:
    """Writes the settings into an audit's folder."""
    write_json(out / AUDIT, to_json(config))


def _grids(scans: Sequence[Scan]) -> list[Grid]:
    """Grids of some of the scans, evenly chosen, by their headers alone."""
    found = []
    for index in np.unique(np.linspace(0, len(scans) - 1, _HEADERS_READ).astype(int)):
        try:
            grid = grid_of(scans[index])
        except (UserError, OSError):
            # Whatever is wrong with it, preparing it will say so.
            continue
        # In the order right-left, front-back, up-down, at the spacing that it has.
        order = np.argsort(nibabel.io_orientation(grid.affine)[:, 0]).astype(int)
        own = np.asarray(grid.spacing)[order]
        found.append(with_spacing(grid, (float(own[0]), float(own[1]), float(own[2]))))
    return found


def fitting_spacing(scans: Sequence[Scan]) -> tuple[float, float, float]:
    """The scans' own spacing, coarsened along its finest axes until a volume is quickly segmented.

    Raises:
        UserError: If no header can be read.
    """
    grids = _grids(scans)
    if not grids:
        raise problem(
            "--spacing",
            "not given, and no scan's header can be read to choose it by",
            "three lengths, mm",
            "pass for instance --spacing 1.6 1.6 3.2",
        )
    own = np.median([grid.spacing for grid in grids], axis=0)
    extent = np.median([np.multiply(grid.spacing, grid.shape) for grid in grids], axis=0)
    coarsest = float(own.min())
    while np.prod(extent / np.maximum(own, coarsest)) > _MOST_VOXELS:
        coarsest *= 1.02
    x, y, z = (float(f"{mm:.3g}") for mm in np.maximum(own, coarsest))
    return x, y, z


def fitting_patch(scans: Sequence[Scan], config: Config) -> tuple[int, int, int]:
    """A patch that holds a whole scan where that is small, and else as much as trains quickly."""
    grids = _grids(scans)
    multiple = 2 ** (len(config.channels) - 1)
    shortest, longest = 2 * multiple, max(2 * multiple, _LONGEST_PATCH // multiple * multiple)
    if not grids:
        return longest, longest, longest
    extent = np.median([np.multiply(grid.spacing, grid.shape) for grid in grids], axis=0)
    sides = np.ceil(extent / config.spacing / multiple).astype(int) * multiple
    x, y, z = (int(side) for side in np.clip(sides, shortest, longest))
    return x, y, z


def fitted(config: Config, scans: Sequence[Scan], given: Sequence[str]) -> Config:
    """Settings with a spacing and a patch for these scans, where the user gave none.

    Args:
        config: Settings.
        scans: What is to be audited.
        given: Names of settings that are the user's.
    """
    if "spacing" not in given:
        config = dataclasses.replace(config, spacing=fitting_spacing(scans))
        _log.info("--spacing %g %g %g: chosen to fit the scans", *config.spacing)
    if "patch" not in given:
        config = dataclasses.replace(config, patch=fitting_patch(scans, config))
        _log.info("--patch %d %d %d: chosen to fit the scans", *config.patch)
    return config
