"""On what a unit was made: device, threads, jobs, versions, commit.

Sums are taken in another order by another number of threads, and a training then ends with other
last digits; so each unit's record says what it was.
"""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

_PACKAGES = {"torch": "torch", "monai": "monai", "numpy": "numpy", "reweight": "torch-reweight"}


def environment(device: torch.device, jobs: int = 1) -> dict[str, Any]:
    """What a result may depend on beside settings and data.

    Args:
        device: Where it is computed.
        jobs: How many units are worked on at the same time.

    Returns:
        Plain JSON types: ``device`` (with the card's name), ``threads`` (of this process),
        ``jobs``, ``machine``, ``python``, the versions of torch, monai, numpy and reweight, and
        ``commit`` of the checkout that the code runs from, None where it is none.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return {
        "device": f"{device} ({name})" if name else str(device),
        "threads": torch.get_num_threads(),
        "jobs": jobs,
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "commit": _commit(),
        **{key: _version(package) for key, package in _PACKAGES.items()},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def _commit() -> str | None:
    """The commit of the checkout that this file is tracked in, ``+`` where files were changed."""
    here = Path(__file__)
    # A site-packages folder within somebody's own repository is not tracked there.
    if _git("ls-files", "--error-unmatch", here.name) is None:
        return None
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return None if commit is None else commit + ("+" if changed else "")


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
