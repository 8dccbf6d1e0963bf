"""Files of a folder, and names made of their paths."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from examples.covid3d.common.errors import problem
from examples.covid3d.common.faults import passing_fault

# A file system allows 255 bytes; others add suffixes to the name.
_LONGEST_NAME = 100
_SUFFIX = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)


def is_nifti(path: Path) -> bool:
    """Whether a file is called NIfTI: ``.nii`` or ``.nii.gz``."""
    return _SUFFIX.search(path.name) is not None


def stem_of(path: Path) -> str:
    """A NIfTI file's name without ``.nii`` or ``.nii.gz``."""
    return _SUFFIX.sub("", path.name)


def is_hidden(path: Path) -> bool:
    """Whether a name begins with a dot, as the ``._NAME`` companions that macOS leaves do."""
    return path.name.startswith(".")


def nifti_files(folder: Path) -> list[Path]:
    """NIfTI files directly in a folder, sorted, without hidden ones; none if there is no folder.

    A link to nowhere counts: the scan exists, its voxels are missing, and loading it says so.
    """
    if not folder.is_dir():
        return []
    return sorted(
        p for p in folder.iterdir() if is_nifti(p) and not is_hidden(p) and not p.is_dir()
    )


def by_name(named: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Files by name, where no two may have the same.

    Args:
        named: Pairs of name and file.

    Returns:
        The files by name, in order of names.

    Raises:
        UserError: If two files have the same name.
    """
    files: dict[str, Path] = {}
    for name, path in named:
        if name in files:
            raise problem(
                path,
                f"a second file of scan {name}, beside {files[name]}",
                "one file per scan",
                "remove or rename one of them",
            )
        files[name] = path
    return dict(sorted(files.items()))


def _raise_passing(error: OSError) -> None:
    if passing_fault(error) is not None:
        raise error


def folders_below(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """A folder and all folders below it, with their files, neither of them hidden.

    Links to folders are followed, each folder is visited once, and folders that may not be listed
    are passed over. A disk or share that does not answer is an error.

    Args:
        folder: Where to begin.

    Yields:
        The folder and its files, both in sorted order.
    """
    visited: set[str] = set()
    for place, below, names in os.walk(folder, onerror=_raise_passing, followlinks=True):
        real = os.path.realpath(place)
        if real in visited:
            below.clear()
            continue
        visited.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        here = Path(place)
        yield here, [here / name for name in sorted(names) if not name.startswith(".")]


def safe_names(parts: Sequence[tuple[str, ...]], paths: Sequence[str]) -> list[str]:
    """Names that are unique and safe as file names, on any system.

    Args:
        parts: What each name is made of.
        paths: What tells those apart whose parts are alike; all different.

    Returns:
        The parts joined by ``_``, other characters than letters, digits, ``.``, ``_`` and ``-``
        replaced by ``-``. Where two would be equal but for case, or one is too long, the beginning
        of the SHA-256 of its path is appended.
    """
    plain = [re.sub(r"[^\w.-]+", "-", "_".join(own)).lstrip(".-") or "scan" for own in parts]
    counts = Counter(name.casefold() for name in plain)
    names = []
    for name, path in zip(plain, paths, strict=True):
        if counts[name.casefold()] > 1 or len(name.encode()) > _LONGEST_NAME:
            digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
            short = name.encode()[:_LONGEST_NAME].decode(errors="ignore")
            names.append(f"{short}-{digest}")
        else:
            names.append(name)
    return names
