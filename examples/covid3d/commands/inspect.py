"""Command ``inspect``: what a folder would be taken for, before anything runs."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from examples.covid3d.commands.options import configure
from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import UserError, problem
from examples.covid3d.scans.cohort_checks import check_sample, sample
from examples.covid3d.scans.described import description_of
from examples.covid3d.scans.readers import guess_kind
from examples.covid3d.scans.readers.scan import Rejected
from examples.covid3d.scans.rejecting import by_kind
from examples.covid3d.scans.sources import read_sources
from examples.covid3d.scans.survey import Look, look_at

_ROWS = 30
_HEADER = ("scan", "patient", "size", "spacing, mm", "range", "labels: share", "what of it")


def inspect_command(parsed: argparse.Namespace) -> int:
    """Shows what the scans would be taken for; nothing is written.

    Returns:
        Exit status: 0, 1 where scans would be left out, 2 where `prepare` would stop.
    """
    if parsed.folder is not None:
        if parsed.data is not None:
            raise problem("--data", "given with a folder", "one of the two", "drop one")
        parsed.data = str(parsed.folder)
    if parsed.data is None and parsed.benchmark is None and parsed.out is None:
        raise problem("inspect", "no data", "a folder or CSV of scans", "inspect FOLDER")
    if parsed.out is None and parsed.preset is None:
        # No run is meant, so none's settings are.
        parsed.preset = "small"
    _, config = configure(parsed)
    if config.data is None:
        raise problem(parsed.out, "a run of phantoms", "a run of scans", "inspect FOLDER")
    found, rejected = read_sources(config)
    looks = look_at(found, config, every=parsed.every)
    print(_table(looks))
    print()
    for line in summary(looks, rejected, config):
        print(_printable(line))
    stop = _would_stop(looks, rejected, config)
    if stop is not None:
        print(f"\n`prepare` would stop:\n{stop}")
        return 2
    return 1 if rejected or any(look.reason for look in looks) else 0


def _sizes(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def _row(look: Look) -> tuple[str, ...]:
    span = "" if look.low is None else f"{look.low:.4g} to {look.high:.4g}"
    shares = ", ".join(f"{label:g}: {share:.2%}" for label, share in look.shares.items() if label)
    verdict = f"REJECTED: {look.reason}" if look.reason else "; ".join(look.warnings)
    labels = shares or ("0 only" if look.shares else "" if look.scan.mask else "no mask")
    patient = "" if look.scan.patient == look.scan.name else look.scan.patient
    return look.scan.name, patient, _sizes(look.shape), _sizes(look.spacing), span, labels, verdict


def _table(looks: Sequence[Look]) -> str:
    """Scans with something to say of them, then the others, as many as fit."""
    odd = [look for look in looks if look.reason or look.warnings]
    plain = [look for look in looks if not (look.reason or look.warnings)]
    shown = plain[: max(5, _ROWS - len(odd))]
    rows = [_HEADER, *(_row(look) for look in odd + shown)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER) - 1)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)).rstrip()
        for row in rows
    ]
    if len(shown) < len(plain):
        lines.append(f"... and {len(plain) - len(shown)} more of which there is nothing to say")
    return "\n".join(_printable(line) for line in lines)


def _printable(text: str) -> str:
    """Without what would move a terminal's cursor: names are whatever files are called."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


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
    lines += [f"  {len(alike)} x {alike[0]}" for alike in by_kind(reasons)[:8]]
    said = Counter(warning for look in looks for warning in look.warnings)
    lines += [f"warning       {count} scans: {text}" for text, count in said.most_common(8)]
    unread = sum(not look.reason and look.low is None for look in looks)
    if unread:
        lines.append(
            f"read          headers of all, voxels of {read}: of the intensities and labels of the "
            f"other {unread} nothing is known (--every reads all)"
        )
    return lines


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
    return _sizes(low) if (low == high).all() else f"{_sizes(low)} to {_sizes(high)}"


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
            f"resampled   to {_sizes(config.spacing)} mm: "
            f"{_span([look.working for look in working])} voxels, {mib:.0f} MiB in all"
            + (f"; {small} smaller than a patch of {_sizes(config.patch)}" if small else "")
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


def _would_stop(
    looks: Sequence[Look], rejected: Sequence[Rejected], config: Config
) -> UserError | None:
    """The error with which `prepare` would stop, as far as was read."""
    masks = [look for look in looks if look.shares and not look.reason]
    lost = [one for one in rejected if not one.spare] + [look for look in looks if look.reason]
    checks: tuple[Callable[[], None], ...] = (
        lambda: check_sample(sample([look.scan for look in looks]), config),
        lambda: _check_lost(len(lost), len(looks), len(rejected), config),
        lambda: _check_drawn(masks, len(looks), config),
    )
    for check in checks:
        try:
            check()
        except UserError as error:
            return error
    return None


def _check_lost(lost: int, scans: int, rejected: int, config: Config) -> None:
    total = scans + rejected
    limit = config.max_rejected
    if lost and (lost >= total or lost > (limit if limit >= 1 else limit * total)):
        raise problem(
            config.data or "data",
            f"{lost} of {total} scans rejected",
            f"at most {limit:g}" if limit >= 1 else f"at most {limit:.0%} of them",
            "see the reasons above; a wrong --intensity or --foreground-labels rejects most",
        )


def _check_drawn(masks: Sequence[Look], scans: int, config: Config) -> None:
    labels = [float(label) for label in config.foreground_labels]
    drawn = any(look.shares.get(label) for look in masks for label in labels)
    if masks and len(masks) == scans and not drawn:
        raise problem(
            config.data or "data",
            f"no foreground in any of {len(masks)} masks",
            "a label of --foreground-labels in some of them",
            "name the labels to find",
        )
