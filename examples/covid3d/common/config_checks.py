"""Refuses settings that cannot work, before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from examples.covid3d.common.errors import problem

if TYPE_CHECKING:
    from examples.covid3d.common.config import Config

_POSITIVE = (
    "batch_size", "learning_rate", "teacher_steps", "student_steps", "teacher_epochs",
    "student_epochs", "patience", "checkpoint_every", "validate_every", "folds", "groups", "limit",
    "nsd_tolerance", "phantom_spacing",
)  # fmt: skip
_RANGES = {
    "overlap": (0.0, 0.95),
    "foreground": (0.0, 1.0),
    "mixing": (0.0, 1.0),
    "rotation": (0.0, 180.0),
    "scaling": (0.0, 0.9),
    "jitter": (0.0, 1.0),
}
PLAUSIBLE_SPACING = (0.01, 50.0)
"""Voxel sizes, mm: of micro-CT, and more than of any scanner of bodies."""
# Beyond these nothing works, and what is said where it breaks does not name the option.
_LARGEST = {
    "batch_size": 4096, "folds": 10_000, "groups": 10_000, "teacher_steps": 10**9,
    "student_steps": 10**9, "teacher_epochs": 10**6, "student_epochs": 10**6, "patience": 10**9,
    "checkpoint_every": 10**9, "validate_every": 10**9, "limit": 10**9, "learning_rate": 1e3,
    "nsd_tolerance": 1e4, "phantom_spacing": 100.0,
}  # fmt: skip
# Of a batch's patches, every voxel has a number of 32 bits; a channel of a level needs weights.
_MOST_VOXELS = 2**31
_MOST_CHANNELS = 4096
# What a mask may hold is read as 32-bit floating point numbers, whose integers end here.
_LARGEST_LABEL = 2**24
# Far beyond any scanner's intensities.
_LARGEST_INTENSITY = 1e9
_MOST_SHARE = 1e9
_LENGTHS = {"patch": 3, "spacing": 3, "window": 2, "shares": 4, "phantoms": 4}
# Seeds enter generators of 64 bits, multiplied.
_LARGEST_SEED = 2**31


def check(config: Config, choices: Mapping[str, tuple[str, ...]]) -> None:
    """Checks every setting.

    Args:
        config: Settings.
        choices: What the settings that are one of a few words may be.

    Raises:
        UserError: For the first that cannot work.
    """
    _check_finite(config)
    _check_spacing(config)
    _check_network(config)
    _check_numbers(config)
    _check_sizes(config)
    for name, words in choices.items():
        if getattr(config, name) not in words:
            raise problem(
                _option(name),
                f"{getattr(config, name)!r}",
                " or ".join(words),
                f"pass for instance {_option(name)} {words[0]}",
            )


def _check_finite(config: Config) -> None:
    for name, value in vars(config).items():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, float) and not math.isfinite(one):
                raise problem(_option(name), f"{one}", "a finite number", "correct it")
    for name, length in _LENGTHS.items():
        if len(getattr(config, name)) != length:
            raise problem(
                _option(name), f"{getattr(config, name)}", f"{length} numbers", "give as many"
            )


def _check_spacing(config: Config) -> None:
    low, high = PLAUSIBLE_SPACING
    if not low <= min(config.spacing) <= max(config.spacing) <= high:
        raise problem(
            "--spacing",
            " ".join(f"{mm:g}" for mm in config.spacing),
            f"voxel sizes from {low:g} to {high:g} mm",
            "pass for instance --spacing 1.6 1.6 3.2",
        )


def _check_network(config: Config) -> None:
    if len(config.channels) < 2 or min(config.channels) < 1:
        raise problem(
            "--channels",
            f"{config.channels}",
            "two or more levels, each of one channel or more",
            "pass for instance --channels 16 32 64 128 256",
        )
    if max(config.channels) > _MOST_CHANNELS:
        raise problem(
            "--channels",
            f"{max(config.channels)} channels",
            f"at most {_MOST_CHANNELS} in a level",
            "pass for instance --channels 16 32 64 128 256",
        )
    multiple = 2 ** (len(config.channels) - 1)
    for side in config.patch:
        if side < 2 * multiple or side % multiple:
            raise problem(
                "--patch",
                f"a side of {side} voxels",
                f"multiples of {multiple}, at least {2 * multiple}: a network of "
                f"{len(config.channels)} levels halves each side {len(config.channels) - 1} times",
                f"pass for instance --patch {4 * multiple} {4 * multiple} {2 * multiple}",
            )


def _check_sizes(config: Config) -> None:
    for name, most in _LARGEST.items():
        value = getattr(config, name)
        if value is not None and value > most:
            raise problem(_option(name), f"{value}", f"at most {most}", "lower it")
    voxels = math.prod(config.patch) * config.batch_size
    if voxels >= _MOST_VOXELS:
        raise problem(
            "--patch",
            f"{config.batch_size} patches of {math.prod(config.patch)} voxels in a batch",
            f"fewer than {_MOST_VOXELS} voxels",
            "lower --patch or --batch-size",
        )
    if config.max_rejected < 0:
        raise problem(
            "--max-rejected",
            f"{config.max_rejected:g}",
            "a share of the scans below 1, or a number of scans",
            "pass for instance --max-rejected 0.1",
        )


def _check_numbers(config: Config) -> None:
    for name in _POSITIVE:
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise problem(_option(name), f"{value}", "more than 0", "raise it")
    for name, (low, high) in _RANGES.items():
        value = getattr(config, name)
        if not low <= value <= high:
            raise problem(
                _option(name), f"{value:g}", f"{low:g} to {high:g}", "choose within that range"
            )
    if config.window[0] >= config.window[1]:
        raise problem("--window", f"{config.window}", "a lower end below the upper", "swap the two")
    if max(abs(end) for end in config.window) > _LARGEST_INTENSITY:
        raise problem(
            "--window",
            f"{config.window}",
            f"intensities of at most {_LARGEST_INTENSITY:g}",
            "choose the range of the scans' intensities",
        )
    seeds = config.seeds
    if not seeds or len(set(seeds)) < len(seeds) or not _are_seeds(*seeds):
        raise problem(
            "--seeds", f"{seeds}", "different numbers from 0 to 2^31", "pass --seeds 0,1,2"
        )
    for name in ("split_seed", "phantom_seed"):
        if not _are_seeds(getattr(config, name)):
            raise problem(
                _option(name), f"{getattr(config, name)}", "a number from 0 to 2^31", "choose one"
            )
    axes = config.flip_axes
    if not set(axes) <= {0, 1, 2} or len(set(axes)) < len(axes):
        raise problem(
            "--flip-axes", f"{axes}", "axes 0, 1 and 2, each once", "pass --flip-axes 0 1"
        )
    if min(config.phantoms) < 1:
        raise problem("phantoms", f"{config.phantoms}", "at least one for each role", "raise it")
    if min(config.shares) < 0 or config.shares[3] == 0 or max(config.shares) > _MOST_SHARE:
        raise problem(
            "--shares",
            f"{config.shares}",
            f"four shares of 0 to {_MOST_SHARE:g}, that for testing above 0",
            "pass for instance --shares 0.3 0.2 0.2 0.3",
        )
    labels = config.foreground_labels
    if not labels or not 1 <= min(labels) <= max(labels) <= _LARGEST_LABEL:
        raise problem(
            "--foreground-labels",
            f"{labels}",
            f"one or more labels above 0 (0 is background), at most {_LARGEST_LABEL}",
            "pass for instance --foreground-labels 1",
        )


def _are_seeds(*numbers: int) -> bool:
    return all(0 <= number < _LARGEST_SEED for number in numbers)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
