"""The folder of one method's predictions: what is there, whose it is, and its table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import problem
from examples.covid3d.common.files import read_json, write_csv, write_json, write_nifti
from examples.covid3d.measure.certainty import Segmentation
from examples.covid3d.measure.preview import draw_preview
from examples.covid3d.scans.contents import digest_of, look_of, settings_of_scan
from examples.covid3d.scans.dicom import find_series
from examples.covid3d.scans.dicom_seg import write_dicom_seg
from examples.covid3d.scans.geometry import Grid
from examples.covid3d.scans.readers.scan import Rejected, Scan
from examples.covid3d.scans.volumes import load_scan

TABLE = "predictions.csv"
TRAINED_ON = "trained_on"
_RECORDS = ".sources"
_COLUMNS = (
    "scan", "patient", "method", "status", "reason", "volume_ml", "sure_ml", "possible_ml",
    "lesion_voxels", "mean_entropy", "networks", "volume_std_ml", "network_dice", TRAINED_ON,
)  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """What to write beside masks, pictures and the table.

    Attributes:
        probabilities: Foreground probabilities as NIfTI.
        dicom_seg: The mask as DICOM SEG too, of scans that are DICOM series.
    """

    probabilities: bool = False
    dicom_seg: bool = False


@dataclass(frozen=True)
class Predictions:
    """A folder with one method's predictions.

    ``NAME.nii.gz`` is a scan's mask, ``previews/NAME.png`` its picture; ``probabilities/`` and
    ``dicom-seg/`` are there on request. ``predictions.csv`` has a line for each scan, those that
    were skipped among them. A scan that has all its files is not segmented again.

    Attributes:
        folder: Where.
        method: The row.
        config: Settings of the inference.
        wanted: What to write beside masks, pictures and the table.
    """

    folder: Path
    method: str
    config: Config
    wanted: Wanted

    def claim(self, weights: Iterable[Path]) -> None:
        """Notes what makes the masks here, so that none of another network is taken for ours.

        Raises:
            UserError: If other networks or settings made those that are there.
        """
        record = {
            "method": self.method,
            "weights": [[str(path), path.stat().st_mtime_ns] for path in weights],
            "overlap": self.config.overlap,
            "flip_average": self.config.flip_average,
        }
        path = self.folder / "predict.json"
        if path.exists() and read_json(path) != record:
            raise problem(
                self.folder,
                "masks of other networks or settings",
                "an empty folder, or one of the same command",
                "choose another with --masks",
            )
        write_json(path, record)

    def mask(self, scan: Scan) -> Path:
        """Where a scan's mask lies."""
        return self.folder / f"{scan.name}.nii.gz"

    def has(self, scan: Scan) -> bool:
        """Whether all that is wanted of a scan is there.

        Raises:
            UserError: If a mask is there that is not known to be this scan's as it is now.
            OSError: If the scan's file is not there.
        """
        path = self.mask(scan)
        look = self._look(scan)
        if path.exists() and not self._is_of(scan, look):
            raise problem(
                path,
                f"there already, and not the mask of {scan.image} as it is now",
                "a folder without masks of other scans of that name",
                "choose another with --masks, or remove that mask",
            )
        return path.exists() and all(other.exists() for other in self._beside(scan).values())

    def add(self, scan: Scan, made: Segmentation, grid: Grid, trained_on: str) -> None:
        """Writes what is missing of a scan; nothing that is there is written over.

        Args:
            scan: Which.
            made: Its segmentation.
            grid: Its own grid.
            trained_on: What is known of it from the training of the networks; else empty.

        Raises:
            UserError: If the series cannot be the source of a DICOM SEG; the mask is there then.
        """
        beside = {kind: path for kind, path in self._beside(scan).items() if not path.exists()}
        if "preview" in beside:
            title = f"{scan.name}, {self.method}: {made.numbers['volume_ml']:.1f} ml"
            volume, _ = load_scan(scan)
            draw_preview(volume, made.mask, grid, self.config, title, beside["preview"])
        if "probability" in beside:
            write_nifti(beside["probability"], made.probability, grid.affine)
        if not self.mask(scan).exists():
            about = {"scan": scan.name, "patient": scan.patient, "method": self.method}
            row = about | {"status": "segmented", "reason": ""} | made.numbers
            source = {"look": self._look(scan), "digest": digest_of(_image_of(scan))}
            record = {"source": source, "row": row | {TRAINED_ON: trained_on}}
            write_json(self._record_of(scan.name), record)
            write_nifti(self.mask(scan), made.mask, grid.affine)
        # After the mask: headers that allow no segmentation object leave it there all the same.
        if "dicom_seg" in beside:
            series = find_series(scan.image, scan.series or "")
            write_dicom_seg(beside["dicom_seg"], made.mask, series, self.method)

    def rows(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Lines of the table, of those of the scans that have a mask."""
        return [
            self._record(name)["row"]
            for name in names
            if (self.folder / f"{name}.nii.gz").exists() and "row" in self._record(name)
        ]

    def write_table(self, skipped: Sequence[Rejected]) -> None:
        """Writes ``predictions.csv``: all masks of the folder, and what this command skipped."""
        masks = sorted(self.folder.glob("*.nii.gz"))
        rows = self.rows([path.name.removesuffix(".nii.gz") for path in masks])
        missed: list[dict[str, Any]] = [
            {"scan": one.where, "method": self.method, "status": "skipped", "reason": one.reason}
            for one in skipped
        ]
        lines = [{name: row.get(name, "") for name in _COLUMNS} for row in rows + missed]
        write_csv(self.folder / TABLE, lines)

    def _beside(self, scan: Scan) -> dict[str, Path]:
        files = {"preview": self.folder / "previews" / f"{scan.name}.png"}
        if self.wanted.probabilities:
            files["probability"] = self.folder / "probabilities" / f"{scan.name}.nii.gz"
        if self.wanted.dicom_seg and scan.series is not None:
            files["dicom_seg"] = self.folder / "dicom-seg" / f"{scan.name}.dcm"
        return files

    def _look(self, scan: Scan) -> dict[str, Any]:
        files = look_of(_image_of(scan))
        settings = settings_of_scan(_image_of(scan), self.config)
        return {"image": str(scan.image.resolve()), "files": files, "settings": settings}

    def _is_of(self, scan: Scan, look: dict[str, Any]) -> bool:
        """Whether the mask under a scan's name was made of it, by its bytes if it looks changed."""
        source = self._record(scan.name).get("source", {})
        if source.get("look", {}).get("settings") != look["settings"]:
            return False
        return bool(source["look"] == look or source["digest"] == digest_of(_image_of(scan)))

    def _record_of(self, name: str) -> Path:
        return self.folder / _RECORDS / f"{name}.json"

    def _record(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = read_json(self._record_of(name))
        return content


def _image_of(scan: Scan) -> Scan:
    # A mask that lies beside the scan has no part in what is predicted.
    return dataclasses.replace(scan, mask=None)
