"""The COVID-19-20 Challenge, and whatever is named like it: ``NAME_ct`` beside ``NAME_seg``."""

from __future__ import annotations

from pathlib import Path

from examples.covid3d.scans.readers.listing import by_name, folders_below, is_nifti, stem_of
from examples.covid3d.scans.readers.scan import Found, Rejected, Scan

IMAGE, MASK = "_ct", "_seg"
LAYOUT = f"NAME{IMAGE}.nii.gz, beside it NAME{MASK}.nii.gz where there is a mask, at any depth"


def read(folder: Path) -> Found:
    """Finds scans, and masks beside them.

    The Challenge publishes its training and its validation set in two folders, so folders below
    are searched, too. Images with no mask beside them are scans without a mask, as those of the
    validation set are. Each scan is taken to be of a patient of its own. Files that are called
    neither ``_ct`` nor ``_seg`` are ignored.

    Args:
        folder: Holds ``volume-covid19-A-0003_ct.nii.gz`` and the like.

    Returns:
        Scans under the name before ``_ct``; a mask without a scan is rejected.

    Raises:
        UserError: If two files are of the same scan.
    """
    folder = folder.absolute()
    files = [path for _, here in folders_below(folder) for path in here if is_nifti(path)]
    images = by_name((_name(path, IMAGE), path) for path in files if _is(path, IMAGE))
    # A mask belongs to the scan beside it, and to no scan of that name elsewhere.
    masks = by_name(
        (str(path.parent / _name(path, MASK)), path) for path in files if _is(path, MASK)
    )
    beside = {str(path.parent / name) for name, path in images.items()}
    scans = [
        Scan(name, name, "challenge", image, masks.get(str(image.parent / name)))
        for name, image in images.items()
    ]
    rejected = [
        Rejected(str(path), f"a mask without {_name(path, MASK)}{IMAGE}.nii.gz beside it")
        for key, path in masks.items()
        if key not in beside
    ]
    return Found(scans, rejected)


def _name(path: Path, ending: str) -> str:
    return stem_of(path).removesuffix(ending)


def _is(path: Path, ending: str) -> bool:
    """Whether a file is called NAME and ``ending``, with a NAME."""
    stem = stem_of(path)
    return stem.endswith(ending) and stem != ending
