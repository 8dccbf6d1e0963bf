"""Which scans may be left out, how many, and that the others are told of it."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import UserError, problem
from examples.covid3d.common.faults import passing_fault
from examples.covid3d.common.files import read_json, write_json
from examples.covid3d.scans.manifest import REJECTED
from examples.covid3d.scans.pseudonyms import private_folder
from examples.covid3d.scans.readers.scan import Rejected, Scan

_log = logging.getLogger("examples.covid3d")
_FAILED = "rejected.json"
_SHOWN = 3


def stop_for(error: UserError | OSError) -> None:
    """Raises what is behind an error, if that is no fault of the scan's own files."""
    passing = passing_fault(error)
    if passing is not None:
        raise passing


def check_reachable(config: Config) -> None:
    """Checks that the datasets are still there: a share that is gone rejects no scan.

    Raises:
        UserError: If one is not.
    """
    for path in (config.data, config.unlabelled):
        if path is not None and not Path(path).exists():
            raise problem(
                path,
                "not there any more",
                "the dataset, for as long as it is read",
                "mount it again; the same command then goes on where it was",
            )


def report_rejected(rejected: Sequence[Rejected], kept: int, config: Config, folder: Path) -> None:
    """Says what was left out and why, each and in sum.

    Raises:
        UserError: If that is more than the settings allow.
    """
    for one in rejected:
        tqdm.write(f"rejected: {one.where}: {one.reason}")
    lost = [one for one in rejected if not one.spare]
    if not rejected:
        return
    total = kept + len(lost)
    counted = f"{len(lost)} of {total} scans rejected"
    spare = len(rejected) - len(lost)
    if spare:
        counted += f", and {spare} copies or series beside a scan left out"
    why = _in_sum(lost)
    _log.info("prepare: %s%s; all of them: %s", counted, f" ({why})" if why else "", REJECTED)
    limit = config.max_rejected
    allowed = limit if limit >= 1 else limit * total
    if len(lost) > allowed:
        raise problem(
            config.data or "data",
            f"{counted}: {why}",
            f"at most {limit:g}" if limit >= 1 else f"at most {limit:.0%} of them",
            f"look at {folder / REJECTED} (a wrong --intensity, --kind or --foreground-labels "
            f"rejects most scans), or allow so many with --max-rejected {len(lost)}",
        )


def _in_sum(lost: Sequence[Rejected]) -> str:
    """The most frequent reasons with their numbers; reasons are alike but for names and figures."""
    often = by_kind([one.reason for one in lost])
    shown = [f"{len(one)}: {one[0]}" for one in often[:_SHOWN]]
    return "; ".join(shown + (["..."] if len(often) > _SHOWN else []))


def by_kind(reasons: Sequence[str]) -> list[list[str]]:
    """Reasons that are alike but for names and figures together, the most frequent first.

    Args:
        reasons: Of one line each, with the path in front or without.
    """
    kinds: dict[str, list[str]] = {}
    for reason in reasons:
        found = reason.split(" Expected: ")[0]
        # In words, without the path in front.
        found = found.split(": ", 1)[-1].rstrip(".") if found.startswith("/") else found.rstrip(".")
        kinds.setdefault(re.sub(r"\S*[\d/\\]\S*", "", found), []).append(found)
    return sorted(kinds.values(), key=len, reverse=True)


def write_failed(folder: Path, failed: Sequence[tuple[str, Scan]]) -> None:
    """Keeps the scans that a reader found and preparation could not use, to try them again."""
    write_json(folder / _FAILED, [[dataset, scan.to_json()] for dataset, scan in failed])


def read_failed(folder: Path) -> list[tuple[str, Scan]]:
    """Reads back what :func:`write_failed` gave."""
    content = read_json(folder / _FAILED) or read_json(private_folder(folder) / _FAILED) or []
    return [(dataset, Scan.from_json(scan)) for dataset, scan in content]
