"""The layout of nnU-Net and of the Medical Segmentation Decathlon, one channel."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from examples.covid3d.common.errors import problem
from examples.covid3d.scans.readers.description import check_channels, read_description
from examples.covid3d.scans.readers.listing import by_name, nifti_files, stem_of
from examples.covid3d.scans.readers.scan import Found, Rejected, Scan

IMAGES, LABELS = "imagesTr", "labelsTr"
LAYOUT = f"{IMAGES}/NAME.nii.gz or NAME_0000.nii.gz, and {LABELS}/NAME.nii.gz"

_CHANNEL = re.compile(r"(.+)_([0-9]{4})")


def _cases(images: list[Path], labels: set[str]) -> dict[str, dict[int, Path]]:
    """Image files by case and channel."""
    matches = {path: _CHANNEL.fullmatch(stem_of(path)) for path in images}
    # Four digits may be a case's own number, as in the Decathlon's files, which name no channel.
    # A label of exactly that name tells.
    numbered = any(match and match[0] in labels for match in matches.values())
    cases: dict[str, dict[int, Path]] = defaultdict(dict)
    keyed = by_name((stem_of(path), path) for path in images)
    for stem, path in keyed.items():
        match = None if numbered else matches[path]
        name, channel = (match[1], int(match[2])) if match else (stem, 0)
        if channel in cases[name]:
            raise problem(
                path,
                f"a second file of case {name}, beside {cases[name][channel]}",
                "one file per case and channel",
                "remove or rename one of them",
            )
        cases[name][channel] = path
    return dict(sorted(cases.items()))


def read(folder: Path) -> Found:
    """Finds training cases; ``imagesTs`` and ``labelsTs`` are not read.

    Where there is a ``dataset.json``, masks may hold the labels that it names.

    Args:
        folder: Holds ``imagesTr`` and, unless no case is labelled, ``labelsTr``.

    Returns:
        Scans, those without a label included, each of a patient of its own. A case of several
        channels, one whose channel 0 is missing, and a label without a case are rejected.

    Raises:
        UserError: If there is no ``imagesTr``, two files are of the same case, or ``dataset.json``
            cannot be read or tells of several channels.
    """
    folder = folder.absolute()
    if not (folder / IMAGES).is_dir():
        raise problem(
            folder / IMAGES,
            "no such folder",
            f"nnU-Net's layout, {LAYOUT}",
            "give the folder of the dataset, the one that holds imagesTr",
        )
    description = read_description(folder)
    known: tuple[int, ...] = ()
    if description is not None:
        check_channels(description)
        known = description.known if description.labels else ()
    labels = by_name((stem_of(path), path) for path in nifti_files(folder / LABELS))
    cases = _cases(nifti_files(folder / IMAGES), set(labels))
    scans, rejected = [], []
    for name, channels in cases.items():
        where = folder / IMAGES / name
        if len(channels) > 1:
            shown = ", ".join(f"{channel:04d}" for channel in sorted(channels))
            rejected.append(
                Rejected(str(where), f"{len(channels)} channels ({shown}); one is expected")
            )
        elif 0 not in channels:
            only = next(iter(channels))
            rejected.append(
                Rejected(str(where), f"channel {only:04d} without channel 0000; one is expected")
            )
        else:
            scans.append(Scan(name, name, "nnunet", channels[0], labels.get(name), labels=known))
    rejected += [
        Rejected(str(path), f"a label without a case {name} in {IMAGES}")
        for name, path in labels.items()
        if name not in cases
    ]
    return Found(scans, rejected)
