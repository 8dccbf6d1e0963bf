"""Command ``inspect``: what a folder would be taken for, before anything runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from examples.covid3d.commands.inspect_summary import sizes, summary
from examples.covid3d.commands.options import configure
from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import UserError, problem
from examples.covid3d.scans.cohort_checks import check_sample, sample
from examples.covid3d.scans.readers.scan import Rejected
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
    print(_table(looks, rejected, config))
    print()
    for line in summary(looks, rejected, config):
        print(_printable(line))
    stop = _would_stop(looks, rejected, config)
    if stop is not None:
        print(f"\n`prepare` would stop:\n{stop}")
        return 2
    return 1 if rejected or any(look.reason for look in looks) else 0


def _row(look: Look) -> tuple[str, ...]:
    span = "" if look.low is None else f"{look.low:.4g} to {look.high:.4g}"
    shares = ", ".join(f"{label:g}: {share:.2%}" for label, share in look.shares.items() if label)
    verdict = f"REJECTED: {look.reason}" if look.reason else "; ".join(look.warnings)
    labels = shares or ("0 only" if look.shares else "" if look.scan.mask else "no mask")
    patient = "" if look.scan.patient == look.scan.name else look.scan.patient
    return look.scan.name, patient, sizes(look.shape), sizes(look.spacing), span, labels, verdict


def _rejected_rows(rejected: Sequence[Rejected], config: Config) -> list[tuple[str, ...]]:
    """What a reader found to be no scan, by its place in the data."""
    roots = [f"{path}/" for path in (config.data, config.unlabelled) if path is not None]
    rows: list[tuple[str, ...]] = []
    for one in rejected:
        root = next((root for root in roots if one.where.startswith(root)), "")
        what = "left out" if one.spare else "REJECTED"
        rows.append((one.where.removeprefix(root), "", "", "", "", "", f"{what}: {one.reason}"))
    return rows


def _table(looks: Sequence[Look], rejected: Sequence[Rejected], config: Config) -> str:
    """Scans with something to say of them, then the others, as many as fit."""
    refused = _rejected_rows(rejected, config)
    odd = [look for look in looks if look.reason or look.warnings]
    plain = [look for look in looks if not (look.reason or look.warnings)]
    shown = plain[: max(5, _ROWS - len(odd))]
    rows = [_HEADER, *refused[:_ROWS], *(_row(look) for look in odd + shown)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER) - 1)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)).rstrip()
        for row in rows
    ]
    if len(refused) > _ROWS:
        lines.append(f"... and {len(refused) - _ROWS} more that were rejected unread")
    if len(shown) < len(plain):
        lines.append(f"... and {len(plain) - len(shown)} more of which there is nothing to say")
    return "\n".join(_printable(line) for line in lines)


def _printable(text: str) -> str:
    """Without what would move a terminal's cursor: names are whatever files are called."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _would_stop(
    looks: Sequence[Look], rejected: Sequence[Rejected], config: Config
) -> UserError | None:
    """The error with which `prepare` would stop, as far as was read."""
    masks = [look for look in looks if look.shares and not look.reason]
    lost = [one for one in rejected if not one.spare] + [look for look in looks if look.reason]
    checks: tuple[Callable[[], None], ...] = (
        lambda: _check_samples(looks, config),
        lambda: _check_lost(len(lost), len(looks), len(rejected), config),
        lambda: _check_drawn(masks, len(looks), config),
    )
    for check in checks:
        try:
            check()
        except UserError as error:
            return error
    return None


def _check_samples(looks: Sequence[Look], config: Config) -> None:
    for dataset in dict.fromkeys(look.dataset for look in looks):
        check_sample(sample([look.scan for look in looks if look.dataset == dataset]), config)


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
