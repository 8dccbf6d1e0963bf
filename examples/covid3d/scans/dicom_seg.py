"""A mask as a DICOM segmentation object of the series it was drawn on."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.covid3d.common.errors import problem
from examples.covid3d.scans.readers.dicom_headers import keeping_locale
from examples.covid3d.scans.readers.dicom_stack import Series
from support.replacing import replacing

_SERIES_NUMBER = 9001
# What a Segmentation copies from its source and cannot be without; empty is allowed for all.
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName",
)  # fmt: skip


def highdicom() -> Any:
    """Imports highdicom, which only DICOM segmentations need.

    Raises:
        UserError: If it is not installed.
    """
    try:
        module = importlib.import_module("highdicom")
    except ImportError as error:
        raise problem(
            "--dicom-seg",
            "highdicom is not installed",
            "it, to write DICOM segmentations",
            'pip install "highdicom>=0.28", or leave --dicom-seg out',
        ) from error
    # It tells of every header that it copies.
    logging.getLogger("highdicom").setLevel(logging.WARNING)
    return module


@keeping_locale()
def write_dicom_seg(path: Path, mask: NDArray[np.uint8], series: Series, label: str) -> None:
    """Writes a mask as a binary DICOM SEG with one segment, its planes where the slices lie.

    It belongs to the study of its series and refers to every slice, so that a viewer lays it over
    the scan. Planes without foreground are left out, but of an empty mask none is.

    Args:
        path: File to write.
        mask: Labels 0 or 1, (column, row, slice), on the series' grid.
        series: What it was drawn on.
        label: Names what drew it, for the series description.

    Raises:
        UserError: If highdicom is not installed, or the series cannot be the source of one.
    """
    hd = highdicom()
    pydicom = importlib.import_module("pydicom")
    codes = pydicom.sr.codedict.codes
    # Of an enhanced file each frame is listed.
    sources = [_source(pydicom, file, series) for file in dict.fromkeys(series.files)]
    code = codes.SCT
    described = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="lesion",
        segmented_property_category=code.MorphologicallyAbnormalStructure,
        segmented_property_type=code.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=label[:64], version="1", family=codes.DCM.ArtificialIntelligence
        ),
    )
    try:
        made = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=np.ascontiguousarray(mask.transpose(2, 1, 0)).astype(bool),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[described],
            series_instance_uid=hd.UID(),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="torch-reweight",
            manufacturer_model_name="examples.covid3d",
            software_versions="1",
            device_serial_number="1",
            series_description=f"lesion, {label}"[:64],
            omit_empty_frames=bool(mask.any()),
            **_planes(hd, series),
        )
    except (ValueError, AttributeError, TypeError) as error:
        raise problem(
            series.files[0].parent,
            f"cannot be the source of a DICOM segmentation ({error})",
            "slices with the headers that the standard asks of CT or MR",
            "leave --dicom-seg out; the mask is there as NIfTI",
        ) from error
    with replacing(path) as temporary:
        made.save_as(temporary)


def _planes(hd: Any, series: Series) -> dict[str, Any]:
    """Where the planes of the mask are, from the grid that it was drawn on."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ series.grid.affine
    column, row, between = series.grid.spacing
    along = [*(lps[:3, 0] / column), *(lps[:3, 1] / row)]
    positions = [lps[:3, 3] + k * lps[:3, 2] for k in range(series.grid.shape[2])]
    patient = hd.CoordinateSystemNames.PATIENT
    return {
        "pixel_measures": hd.PixelMeasuresSequence(
            pixel_spacing=(row, column), slice_thickness=between, spacing_between_slices=between
        ),
        "plane_orientation": hd.PlaneOrientationSequence(
            coordinate_system=patient, image_orientation=along
        ),
        "plane_positions": [
            hd.PlanePositionSequence(coordinate_system=patient, image_position=list(position))
            for position in positions
        ],
    }


def _source(pydicom: Any, file: Path, series: Series) -> Any:
    """The header of a slice, with what anonymisers take out and a segmentation must have."""
    header = pydicom.dcmread(file, stop_before_pixels=True)
    for name in _MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
    # The thickness may differ from the distance between slices, but that is all that is known.
    if not header.get("SliceThickness"):
        header.SliceThickness = series.grid.spacing[2]
    if "FrameOfReferenceUID" not in header:
        # One and the same for all slices: they do lie in one space.
        header.FrameOfReferenceUID = pydicom.uid.generate_uid(entropy_srcs=[series.uid])
    return header
