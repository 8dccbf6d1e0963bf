"""To nnU-Net and back: a fold in its raw format, and its predictions for our evaluation.

nnU-Net v2 (Isensee et al.) reads the folder ``nnUNet_raw/DatasetXXX_NAME`` with ``dataset.json``,
``imagesTr/CASE_0000.nii.gz``, ``labelsTr/CASE.nii.gz`` and ``imagesTs/CASE_0000.nii.gz``. It takes
the split into training and validation cases from ``splits_final.json``, which it looks for in
``nnUNet_preprocessed/DatasetXXX_NAME``; without one it splits at random, patients or not. So::

    nnUNetv2_plan_and_preprocess -d XXX --verify_dataset_integrity
    cp nnUNet_raw/DatasetXXX_NAME/splits_final.json nnUNet_preprocessed/DatasetXXX_NAME/
    nnUNetv2_train XXX 3d_fullres 0
    nnUNetv2_predict -d XXX -c 3d_fullres -f 0 -i nnUNet_raw/DatasetXXX_NAME/imagesTs -o PREDICTED

and then :func:`import_predictions` on ``PREDICTED``.
"""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from examples.covid3d.common.errors import problem
from examples.covid3d.common.files import new_folder, write_json, write_nifti
from examples.covid3d.scans.geometry import Grid
from examples.covid3d.scans.nifti import load_image, load_mask
from support.replacing import replacing

# A file, or voxels with their affine (mm) where the scan is no NIfTI file.
Image = Path | tuple[NDArray[Any], NDArray[np.float64]]

_ENDING = ".nii.gz"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def export_fold(
    folder: Path,
    dataset_id: int,
    name: str,
    training: Iterable[tuple[str, Image, Path | None]],
    test: Iterable[tuple[str, Image]],
    splits: Sequence[tuple[Sequence[str], Sequence[str]]] = (),
    *,
    foreground: tuple[int, ...] = (1,),
    known: tuple[int, ...] | None = None,
    channel: str = "CT",
) -> Path:
    """Writes one fold as a raw dataset of nnU-Net v2; all of it or, on an error, nothing.

    Cases are taken one at a time, so generators keep memory constant. A 3D ``.nii.gz`` image is
    linked to by its path (copied where links cannot be made; to take the folder elsewhere, copy it
    with ``cp -rL``), ``.nii`` is compressed as it is, all else is written anew. Masks are always
    written anew, with the affine of their scan.

    Args:
        folder: ``nnUNet_raw``.
        dataset_id: 1 to 999, of no dataset there.
        name: Dataset name, letters, digits, dots, dashes and underscores.
        training: (case name, image, mask) of the training and validation cases; each has a mask.
        test: (case name, image) of the test cases. Their masks stay out of nnU-Net's reach.
        splits: (training names, validation names) for ``splits_final.json``, which is written only
            if there are any.
        foreground: Labels that become 1 (lesion).
        known: All labels that a mask may hold; 0 and ``foreground`` if None. The rest becomes 0.
        channel: ``"CT"`` makes nnU-Net normalise by the dataset's foreground intensities; any other
            name (``"MRI"``) makes it z-score each scan.

    Returns:
        The dataset's folder.

    Raises:
        UserError: If a name is unusable or taken, a file is, a training case has no mask or one of
            other labels, shape or affine, or the splits do not fit the cases.
    """
    if not 1 <= dataset_id <= 999:
        raise problem("dataset id", f"{dataset_id}", "a number from 1 to 999", "choose another")
    _check_name("dataset name", name)
    final = folder / f"Dataset{dataset_id:03d}_{name}"
    taken = sorted(folder.glob(f"Dataset{dataset_id:03d}_*"))
    if taken:
        raise problem(
            taken[0], "exists", f"no dataset {dataset_id:03d} yet", "remove it or choose another id"
        )
    labels = tuple({0, *foreground} if known is None else {0, *foreground, *known})
    with new_folder(final) as partial:
        trained: list[str] = []
        tested: list[str] = []
        for case, image, mask in training:
            _check_name("case name", case, trained)
            trained.append(case)
            grid = _export_image(image, partial / "imagesTr" / f"{case}_0000{_ENDING}")
            if mask is None:
                raise problem(case, "no mask", "a mask for every training case", "leave it out")
            lesion = _lesion(mask, grid, foreground, labels)
            write_nifti(partial / "labelsTr" / f"{case}{_ENDING}", lesion, grid.affine)
        for case, image in test:
            _check_name("case name", case, [*trained, *tested])
            tested.append(case)
            _export_image(image, partial / "imagesTs" / f"{case}_0000{_ENDING}")
        if not trained:
            raise problem(final, "no training case", "at least one", "check the fold")
        description = {
            "channel_names": {"0": channel},
            "labels": {"background": 0, "lesion": 1},
            "numTraining": len(trained),
            "file_ending": _ENDING,
        }
        write_json(partial / "dataset.json", description)
        if splits:
            write_json(partial / "splits_final.json", _checked_splits(splits, trained))
    return final


def splits_by_patient(
    cases: Iterable[tuple[str, str]], folds: int = 5
) -> list[tuple[list[str], list[str]]]:
    """Splits for ``splits_final.json``: every patient validates once, and then does not train.

    Args:
        cases: (case name, patient).
        folds: How many; nnU-Net has five. With fewer patients there are fewer.

    Returns:
        (training names, validation names); nothing for a single patient.
    """
    patients: dict[str, list[str]] = {}
    for name, patient in cases:
        patients.setdefault(patient, []).append(name)
    order = np.random.default_rng(0).permutation(len(patients))
    dealt = [[sorted(patients)[i] for i in order[k::folds]] for k in range(folds)]
    return [
        (
            [name for p, names in patients.items() if p not in own for name in names],
            [name for p, names in patients.items() if p in own for name in names],
        )
        for own in dealt
        if 0 < len(own) < len(patients)
    ]


def import_predictions(
    folder: Path, names: Iterable[str], grids: Mapping[str, tuple[Path, Grid]] | None = None
) -> dict[str, Path]:
    """Finds nnU-Net's predictions, ``CASE.nii.gz``, of the test scans.

    Args:
        folder: What ``nnUNetv2_predict -o`` was given; files of other endings are passed over.
        names: Case names of the test scans.
        grids: The image file (named in errors) and grid of each test scan. If given, every
            prediction is read and must be a mask of 0 and 1 on that grid.

    Returns:
        The file of each name, in the order of ``names``.

    Raises:
        UserError: If a prediction is missing, there are others, or one does not fit its scan.
    """
    wanted = list(names)
    found = {path.name.removesuffix(_ENDING): path for path in folder.glob(f"*{_ENDING}")}
    missing = [name for name in wanted if name not in found]
    extra = sorted(set(found) - set(wanted))
    if missing or extra:
        wrong = [f"{len(missing)} missing ({_some(missing)})"] if missing else []
        wrong += [f"{len(extra)} of other names ({_some(extra)})"] if extra else []
        raise problem(
            folder,
            ", ".join(wrong),
            f"one prediction CASE{_ENDING} for each of the {len(wanted)} test scans, no others",
            "predict this fold's imagesTs into an empty folder, and name that folder",
        )
    for name in wanted if grids is not None else ():
        image, grid = (grids or {})[name]
        load_mask(found[name], image, grid)
    return {name: found[name] for name in wanted}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _check_name(what: str, name: str, taken: Sequence[str] = ()) -> None:
    if not _NAME.fullmatch(name):
        expected = "letters, digits, dots, dashes and underscores, a letter or digit first"
        raise problem(what, repr(name), expected, "rename it")
    if name in taken:
        raise problem(what, f"{name} occurs twice", "different names", "rename one of them")


def _export_image(image: Image, to: Path) -> Grid:
    if isinstance(image, tuple):
        voxels, affine = image
        write_nifti(to, voxels, affine)
        return load_image(to)[1]
    # Read in any case: nnU-Net's own errors come hours later.
    voxels, grid = load_image(image)
    to.parent.mkdir(parents=True, exist_ok=True)
    if not _as_it_is(image):
        write_nifti(to, voxels, grid.affine)
    elif image.name.endswith(_ENDING):
        try:
            # A hard link would change the state of the scan's own file.
            to.symlink_to(image.resolve())
        except OSError:
            with replacing(to) as temporary:
                shutil.copyfile(image, temporary)
    else:
        with (
            replacing(to) as temporary,
            image.open("rb") as plain,
            # Without a time stamp the same scan gives the same file.
            gzip.GzipFile(temporary, "wb", mtime=0) as packed,
        ):
            shutil.copyfileobj(plain, packed)
    return grid


def _as_it_is(path: Path) -> bool:
    """Whether another reader sees the same 3D volume: one file, its two affines not at odds."""
    header = nibabel.load(path).header
    if not path.name.endswith((".nii", _ENDING)) or len(header.get_data_shape()) != 3:
        return False
    (sform, s), (qform, q) = header.get_sform(coded=True), header.get_qform(coded=True)
    return not (s and q) or bool(np.allclose(sform, qform, atol=1e-3))


def _lesion(
    path: Path, grid: Grid, foreground: tuple[int, ...], known: tuple[int, ...]
) -> NDArray[np.uint8]:
    voxels, own = load_image(path)
    odd = sorted(set(np.unique(voxels).tolist()) - {float(label) for label in known})
    if odd:
        raise problem(
            path,
            f"labels {_some([f'{label:g}' for label in odd])}",
            f"labels among {', '.join(map(str, sorted(known)))}",
            "name all labels of the masks, or map them",
        )
    if own.shape != grid.shape or not np.allclose(own.affine, grid.affine, atol=0.01):
        raise problem(
            path,
            f"shape {own.shape} or affine differs from its scan's, of shape {grid.shape}",
            "the grid of its scan",
            "pair it with the scan it was drawn on, or resample it to that grid",
        )
    return np.isin(voxels, foreground).astype(np.uint8)


def _checked_splits(
    splits: Sequence[tuple[Sequence[str], Sequence[str]]], cases: Sequence[str]
) -> list[dict[str, list[str]]]:
    for number, (train, val) in enumerate(splits):
        strange = sorted({*train, *val} - set(cases))
        both = sorted(set(train) & set(val))
        if strange or both or not train or not val:
            found = f"{_some(strange)} not among the training cases" if strange else ""
            found = found or (f"{_some(both)} on both sides" if both else "an empty side")
            expected = "training and validation cases, none on both sides"
            raise problem(f"split {number}", found, expected, "check the fold")
    return [{"train": list(train), "val": list(val)} for train, val in splits]
