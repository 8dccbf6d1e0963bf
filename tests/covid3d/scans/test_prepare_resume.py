"""A scan is read once, however often preparation is killed or its dataset grows."""

import csv
import os

import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import read_json, write_json
from examples.covid3d.run.pipeline import run_stages
from examples.covid3d.scans import prepare as module
from examples.covid3d.scans import prepare_scan
from examples.covid3d.scans.manifest import read_manifest
from tests.covid3d.running import Killed, files_of, nnunet, small


@pytest.fixture
def reads(monkeypatch):
    """Names of the scans whose voxels were read; `die_after` ends the run after so many."""
    names = []
    load = prepare_scan.load_scan

    def noted(scan):
        if noted.die_after == len(names):
            raise Killed
        names.append(scan.name)
        return load(scan)

    noted.die_after = None
    names_and = type("Reads", (), {"names": names, "hook": noted})
    monkeypatch.setattr(prepare_scan, "load_scan", noted)
    monkeypatch.setattr(module, "_MOST_THREADS", 1)
    return names_and


@pytest.fixture
def data(tmp_path):
    return nnunet(tmp_path / "data", 5)


def go(tmp_path, data, **changes):
    run_stages(tmp_path / "run", small(data=str(data), **changes), ["prepare"])
    return tmp_path / "run" / "prepare"


def test_every_scan_is_read_once(tmp_path, data, reads):
    go(tmp_path, data)
    assert sorted(reads.names) == [f"case0{i}" for i in range(5)]
    go(tmp_path, data)
    assert len(reads.names) == 5


@pytest.mark.parametrize("at", [0, 1, 3])
def test_killed_half_way_reads_no_finished_scan_again(tmp_path, data, reads, at):
    reads.hook.die_after = at
    with pytest.raises(Killed):
        go(tmp_path, data)
    assert not (tmp_path / "run" / "prepare").exists()
    assert not list((tmp_path / "run").rglob(".partial*"))
    reads.hook.die_after = None
    folder = go(tmp_path, data)
    assert sorted(reads.names) == [f"case0{i}" for i in range(5)]
    assert len(read_manifest(folder)) == 5
    assert not (tmp_path / "run" / "prepare.partial").exists()


def test_a_kill_that_nothing_could_clean_up_after_does_no_harm(tmp_path, data, reads):
    reads.hook.die_after = 2
    with pytest.raises(Killed):
        go(tmp_path, data)
    reads.hook.die_after = None
    half = tmp_path / "run" / "prepare.partial" / "scans" / f".partial-{os.getpid()}-case02"
    half.mkdir()
    (half / "image.npy").write_bytes(b"half")
    folder = go(tmp_path, data)
    assert len(read_manifest(folder)) == 5
    assert not half.exists()


def test_of_a_dataset_that_grew_only_the_new_scan_is_read(tmp_path, data, reads):
    before = files_of(go(tmp_path, data) / "scans")
    reads.names.clear()
    nnunet(tmp_path / "more", 6)
    for kind in ("imagesTr", "labelsTr"):
        name = f"{kind}/case05.nii.gz"
        (tmp_path / "more" / name).rename(data / name)
    folder = go(tmp_path, data)
    assert reads.names == ["case05"]
    after = files_of(folder / "scans")
    assert len(read_manifest(folder)) == 6
    assert {name: time for name, time in after.items() if "case05" not in name} == before


def test_a_changed_file_or_setting_is_read_again(tmp_path, data, reads):
    go(tmp_path, data)
    reads.names.clear()
    path = data / "imagesTr" / "case03.nii.gz"
    nnunet(tmp_path / "more", 5, seed=9)
    (tmp_path / "more" / "imagesTr" / path.name).replace(path)
    (tmp_path / "more" / "labelsTr" / path.name).replace(data / "labelsTr" / path.name)
    go(tmp_path, data)
    assert reads.names == ["case03"]
    go(tmp_path, data, spacing=(4.0, 4.0, 4.0))
    assert len(reads.names) == 6


def test_a_changed_file_of_a_csv_is_noticed(tmp_path, data, reads):
    rows = [f"imagesTr/case0{i}.nii.gz,labelsTr/case0{i}.nii.gz,p{i},here" for i in range(5)]
    table = data / "scans.csv"
    table.write_text("image,label,patient,source\n" + "\n".join(rows), encoding="utf-8")
    go(tmp_path, table)
    reads.names.clear()
    go(tmp_path, table)
    assert reads.names == []
    path = data / "imagesTr" / "case01.nii.gz"
    nnunet(tmp_path / "more", 5, seed=9)
    (tmp_path / "more" / "imagesTr" / path.name).replace(path)
    go(tmp_path, table)
    assert reads.names == ["case01"]


def test_a_mask_that_comes_later_is_taken_up(tmp_path, data, reads):
    mask = data / "labelsTr" / "case04.nii.gz"
    kept = mask.read_bytes()
    mask.unlink()
    entries = {e.name: e for e in read_manifest(go(tmp_path, data))}
    assert not entries["case04"].has_mask
    mask.write_bytes(kept)
    reads.names.clear()
    entries = {e.name: e for e in read_manifest(go(tmp_path, data))}
    assert entries["case04"].has_mask
    assert reads.names == ["case04"]


def test_scans_that_another_version_prepared_are_prepared_anew(tmp_path, data):
    folder = go(tmp_path, data)
    with (folder / "manifest.csv").open(newline="") as stream:
        rows = [{**row, "voxels_sha256": None} for row in csv.DictReader(stream)]
    columns = [name for name in rows[0] if name != "voxels_sha256"]
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    for path in folder.glob("scans/*/record.json"):
        scan = read_json(path)
        del scan["row"]["voxels_sha256"]
        scan["key"]["settings"]["version"] = 1
        write_json(path, scan)
    record = read_json(folder / "stage.json")
    del record["inputs"]["version"]
    record["files"] = {name: (folder / name).stat().st_size for name in record["files"]}
    write_json(folder / "stage.json", record)
    with pytest.raises(UserError, match="another version prepared the scans"):
        run_stages(tmp_path / "run", small(data=str(data)), ["report"])
    assert len(read_manifest(go(tmp_path, data))) == 5
