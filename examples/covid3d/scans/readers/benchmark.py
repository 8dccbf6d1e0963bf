"""The COVID-19-CT-Seg Benchmark: 20 chest CTs with lesion masks, of 19 patients."""

from __future__ import annotations

import re
from pathlib import Path

from examples.covid3d.common.errors import problem
from examples.covid3d.scans.patients import patient_of
from examples.covid3d.scans.readers.listing import by_name, nifti_files, stem_of
from examples.covid3d.scans.readers.scan import Found, Rejected, Scan

IMAGES, MASKS = "COVID-19-CT-Seg_20cases", "Infection_Mask"
LAYOUT = f"{IMAGES}/NAME.nii.gz and {MASKS}/NAME.nii.gz"

_CORONACASES = re.compile(r"coronacases_org_([0-9]+)")
_RADIOPAEDIA = re.compile(r"radiopaedia_org_covid-19-pneumonia-([0-9]+)_([0-9]+)_([0-9]+)(?:-dcm)?")


def canonical_name(stem: str) -> str:
    """One name for a scan, whichever of the two naming schemes its file follows.

    Args:
        stem: File name without suffix.

    Returns:
        ``coronacases_001`` for ``coronacases_org_001``; ``radiopaedia_4_85506_1`` for
        ``radiopaedia_org_covid-19-pneumonia-4_85506_1-dcm``; any other name as it is.
    """
    if match := _CORONACASES.fullmatch(stem):
        return f"coronacases_{match[1]}"
    if match := _RADIOPAEDIA.fullmatch(stem):
        return f"radiopaedia_{match[1]}_{match[2]}_{match[3]}"
    return stem


def _files(folder: Path) -> dict[str, Path]:
    return by_name((canonical_name(stem_of(path)), path) for path in nifti_files(folder))


def read(folder: Path) -> Found:
    """Finds the pairs of scan and mask, whose files may follow different naming schemes.

    Names of neither scheme are taken as they are, each a patient of its own.

    Args:
        folder: Holds ``COVID-19-CT-Seg_20cases`` and ``Infection_Mask``.

    Returns:
        Scans under their canonical names; a scan without a mask and a mask without a scan are
        rejected.

    Raises:
        UserError: If one of the two folders is missing, or two files are of the same scan.
    """
    folder = folder.absolute()
    for name in (IMAGES, MASKS):
        if not (folder / name).is_dir():
            raise problem(
                folder / name,
                "no such folder",
                f"the Benchmark's layout, {LAYOUT}",
                "check the path, or rename the folders",
            )
    images, masks = _files(folder / IMAGES), _files(folder / MASKS)
    scans = [
        Scan(name, patient_of(name), "benchmark", image, masks[name])
        for name, image in images.items()
        if name in masks
    ]
    rejected = [
        Rejected(str(image), f"no mask {name}.nii.gz in {MASKS}")
        for name, image in images.items()
        if name not in masks
    ]
    rejected += [
        Rejected(str(mask), f"a mask without a scan {name}.nii.gz in {IMAGES}")
        for name, mask in masks.items()
        if name not in images
    ]
    return Found(scans, rejected)
