"""What `inspect` says in sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from examples.covid3d.common.config import Config
from examples.covid3d.scans.described import description_of
from examples.covid3d.scans.readers import guess_kind
from examples.covid3d.scans.readers.scan import Rejected
from examples.covid3d.scans.rejecting import by_kind
from examples.covid3d.scans.survey import Look

_KINDS = 8


def sizes(values: Sequence[float]) -> str:
    """Numbers along the axes."""
    return " x ".join(f"{value:.4g}" for value in values)


def summary(looks: Sequence[Look], rejected: Sequence[Rejected], config: Config) -> list[str]:
    """What there is in sum, a line each."""
    lines = []
    for dataset, path, kind in (
        ("data", config.data, config.kind),
        ("unlabelled", config.unlabelled, config.unlabelled_kind),
    ):
        own = [look for look in looks if look.dataset == dataset]
        if path is None:
            continue
        layout = kind or guess_kind(Path(path)) or "hospital"
        how = "as told" if kind else "by its names"
        masks = sum(look.scan.mask is not None for look in own)
        lines.append(
            f"--{dataset} {path}: layout {layout} ({how}), {len(own)} scans, {masks} masks"
        )
        lines.append(f"  modality    {_modality(own, path, layout, config)}")
        lines += [f"  {line}" for line in _geometry(own, config)]
        lines.append(f"  patients    {_patients(own, layout, config)}")
        lines += [f"  {line}" for line in _labels(own, config)]
    read = sum(look.low is not None for look in looks)
    reasons = [look.reason for look in looks if look.reason] + [one.reason for one in rejected]
    lines.append(f"rejected      {len(reasons)}")
    kinds = by_kind(reasons)
    lines += [f"  {len(alike)} x {_example(alike)}" for alike in kinds[:_KINDS]]
    if len(kinds) > _KINDS:
        lines.append(f"  {sum(map(len, kinds[_KINDS:]))} x for other reasons, in the list above")
    if looks and not any(look.scan.mask for look in looks if look.dataset == "data"):
        lines.append(
            "warning       no scan has a mask: --data needs some; these may be --unlabelled"
        )
    said = Counter(warning for look in looks for warning in look.warnings)
    lines += [f"warning       {count} scans: {text}" for text, count in said.most_common(8)]
    unread = sum(not look.reason and look.low is None for look in looks)
    if unread:
        lines.append(
            f"read          headers of all, voxels of {read}: of the intensities and labels of the "
            f"other {unread} nothing is known (--every reads all)"
        )
    return lines


def _example(alike: Sequence[str]) -> str:
    return alike[0] + (", or the like" if len(set(alike)) > 1 else "")


def _modality(looks: Sequence[Look], path: str, layout: str, config: Config) -> str:
    said = []
    own = description_of(path, layout)
    if own is not None and own.channels:
        said.append(f"{own.channels[0]} (dataset.json)")
    headers = Counter(look.modality for look in looks if look.modality)
    said += [f"{name} ({count} DICOM headers)" for name, count in headers.items()]
    seen = [look for look in looks if look.low is not None]
    scales = Counter(look.scale or "other" for look in seen)
    words = {"HU": "as CT in HU", "0..255": "in 0..255", "other": "not as CT"}
    said.append(
        "intensities " + ", ".join(f"{words[name]}: {count}" for name, count in scales.items())
        if seen
        else "no intensities read"
    )
    return f"{'; '.join(said)}. Taken as --intensity {config.intensity}"


def _span(values: Sequence[Sequence[float]]) -> str:
    low, high = np.min(values, axis=0), np.max(values, axis=0)
    return sizes(low) if (low == high).all() else f"{sizes(low)} to {sizes(high)}"


def _geometry(looks: Sequence[Look], config: Config) -> list[str]:
    usable = [look for look in looks if look.shape]
    if not usable:
        return []
    working = [look for look in usable if look.working]
    lines = [
        f"size        {_span([look.shape for look in usable])} voxels",
        f"spacing     {_span([look.spacing for look in usable])} mm",
    ]
    if working:
        # Four bytes of image and one of mask.
        mib = sum(float(np.prod(look.working)) for look in working) * 5 / 2**20
        small = sum(
            any(a < b for a, b in zip(look.working, config.patch, strict=True)) for look in working
        )
        lines.append(
            f"resampled   to {sizes(config.spacing)} mm: "
            f"{_span([look.working for look in working])} voxels, {mib:.0f} MiB in all"
            + (f"; {small} smaller than a patch of {sizes(config.patch)}" if small else "")
        )
    return lines


_KNOWN_BY: dict[str, str] = {
    "nnunet": "each scan is taken for a patient of its own; --patients TABLE names them",
    "challenge": "each scan is taken for a patient of its own; --patients TABLE names them",
    "benchmark": "by the scan's name",
    "hospital": "by PatientID, or the topmost folder",
    "csv": "by the column patient",
}


def _patients(looks: Sequence[Look], layout: str, config: Config) -> str:
    counts = Counter(look.scan.patient for look in looks)
    several = sum(count > 1 for count in counts.values())
    how = f"by {config.patients}" if config.patients is not None else _KNOWN_BY[layout]
    return f"{len(counts)}; {several} with several scans ({how})"


def _labels(looks: Sequence[Look], config: Config) -> list[str]:
    masks = [look.shares for look in looks if look.shares]
    if not masks:
        return []
    values = sorted({label for shares in masks for label in shares if label})
    text = ", ".join(
        f"{label:g}: {np.mean([shares.get(label, 0) for shares in masks]):.2%} of the voxels, in "
        f"{sum(label in shares for shares in masks)} of {len(masks)} masks"
        for label in values[:8]
    )
    chosen = " ".join(map(str, config.foreground_labels))
    return [f"labels      {text or 'none but 0'}. Foreground: --foreground-labels {chosen}"]
