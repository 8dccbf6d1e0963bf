import dataclasses
from pathlib import Path

from examples.covid3d.scans.manifest import read_manifest, write_manifest
from examples.covid3d.scans.readers.scan import Scan
from tests.covid3d.entries import entry


def test_survives_the_disk(tmp_path):
    entries = [entry("a", role="test"), entry("b", dataset="unlabelled", mask=False)]
    write_manifest(tmp_path, entries)
    assert read_manifest(tmp_path) == entries


def test_relative_paths_start_from_the_folder_and_others_do_not():
    own = dataclasses.replace(entry("a"), mask="/elsewhere/mask.nii.gz", series="1.2")
    scan = own.scan(Path("/run/prepare"))
    assert scan.image == Path("/run/prepare/a.nii.gz")
    assert scan.mask == Path("/elsewhere/mask.nii.gz")
    assert (scan.series, entry("a").scan(Path()).series) == ("1.2", None)
    assert entry("b", mask=False).scan(Path("/run")).mask is None


def test_a_scan_survives_json_with_its_role():
    for scan in (
        Scan("a", "p", "csv", Path("a.nii"), Path("m.nii"), "1.2.3", "trusted"),
        Scan("b", "q", "hospital", Path("b"), None),
    ):
        assert Scan.from_json(scan.to_json()) == scan
