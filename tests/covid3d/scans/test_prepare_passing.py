"""Only a fault of the file itself rejects a scan; what passes stops the command."""

import errno
import logging
import os
import re
import shutil

import numpy as np
import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.common.faults import in_words, passing_fault, read_through
from examples.covid3d.common.files import read_csv
from examples.covid3d.run.pipeline import run_stages
from examples.covid3d.scans import prepare as module
from examples.covid3d.scans import prepare_scan
from examples.covid3d.scans.manifest import read_manifest
from examples.covid3d.scans.prepare import prepare
from examples.covid3d.scans.readers import hospital, read_dataset
from tests.covid3d.failing import PASSING, fail_to_open
from tests.covid3d.running import nnunet, small


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setattr(module, "_MOST_THREADS", 1)


@pytest.fixture
def data(tmp_path):
    return nnunet(tmp_path / "data", 4)


def go(tmp_path, data, **changes):
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    prepare(small(data=str(data), **changes), folder, tmp_path / "none")
    return folder


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("part", ["imagesTr/case02", "labelsTr/case02"])
def test_a_disk_that_does_not_answer_stops_and_rejects_nothing(
    tmp_path, data, monkeypatch, name, part
):
    number = getattr(errno, name)
    with monkeypatch.context() as patched:
        log = fail_to_open(patched, part, number, times=10)
        with pytest.raises(OSError, match=re.escape(os.strerror(number))) as caught:
            go(tmp_path, data)
    assert log
    assert caught.value.errno == number
    assert "case02" in str(in_words(caught.value))
    assert not (tmp_path / "run" / "manifest.csv").exists()
    # And the same command goes on where it was.
    assert len(read_manifest(go(tmp_path, data))) == 4
    assert read_csv(tmp_path / "run" / "rejected.csv") == []


def test_a_disk_that_fills_up_while_a_scan_is_written_stops_too(tmp_path, data, monkeypatch):
    save = np.save
    calls = []

    def full(stream, array, **rest):
        calls.append(1)
        if len(calls) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(stream, array, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(np, "save", full)
        with pytest.raises(OSError, match="No space left"):
            go(tmp_path, data)
    assert not list((tmp_path / "run").rglob(".partial*"))
    assert len(read_manifest(go(tmp_path, data))) == 4


def test_memory_that_runs_out_stops_too(tmp_path, data, monkeypatch):
    def no_room(*_, **__):
        raise MemoryError("Unable to allocate 5 GiB")

    with monkeypatch.context() as patched:
        patched.setattr(prepare_scan, "resample", no_room)
        with pytest.raises(MemoryError):
            go(tmp_path, data)
    assert "lower --jobs" in str(in_words(MemoryError("Unable to allocate 5 GiB")))


def test_a_library_that_takes_it_for_a_damaged_file_is_asked_again(tmp_path, data, monkeypatch):
    """As nibabel does of a glitch in its glance at a file, and ITK of any."""
    load, calls = prepare_scan.load_scan, []

    def once(scan):
        calls.append(scan.name)
        if calls.count("case02") == 1 and scan.name == "case02":
            raise UserError("cannot be read (Cannot work out file type)")
        return load(scan)

    monkeypatch.setattr(prepare_scan, "load_scan", once)
    assert len(read_manifest(go(tmp_path, data))) == 4
    assert calls.count("case02") == 2


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOENT])
def test_a_file_that_may_not_be_read_is_rejected(tmp_path, data, monkeypatch, number):
    fail_to_open(monkeypatch, "imagesTr/case02", number, times=100)
    assert len(read_manifest(go(tmp_path, data))) == 3
    (row,) = read_csv(tmp_path / "run" / "rejected.csv")
    assert "case02" in row["where"]


def test_a_dataset_that_is_gone_half_way_rejects_nothing(tmp_path, data, monkeypatch):
    load = prepare_scan.load_scan

    def unmounted(scan):
        if scan.name == "case02" and data.exists():
            data.rename(tmp_path / "away")
        return load(scan)

    with monkeypatch.context() as patched:
        patched.setattr(prepare_scan, "load_scan", unmounted)
        with pytest.raises(UserError, match="not there any more"):
            go(tmp_path, data)
    (tmp_path / "away").rename(data)
    assert len(read_manifest(go(tmp_path, data))) == 4


def test_a_file_that_is_written_while_it_is_read_stops(tmp_path, data, monkeypatch):
    load = prepare_scan.load_scan

    def meanwhile(scan):
        found = load(scan)
        os.utime(scan.image, ns=(1, 1))
        return found

    monkeypatch.setattr(prepare_scan, "load_scan", meanwhile)
    with pytest.raises(OSError, match="changed while it was read") as caught:
        go(tmp_path, data)
    assert passing_fault(caught.value) is not None


def test_readers_do_not_pass_over_what_a_disk_hides_for_a_moment(tmp_path, data, monkeypatch):
    folder = tmp_path / "hospital"
    shutil.copytree(data / "imagesTr", folder / "anna")
    (folder / "anna" / "slice").write_bytes(b"x" * 200)
    whole = read_dataset("hospital", folder)
    assert len(whole.scans) == 4
    for part in ("case01", "slice"):
        # What is unchanged is remembered and not opened again.
        os.utime(folder / "anna" / "slice", (1, len(part)))
        with monkeypatch.context() as patched:
            fail_to_open(patched, part, errno.EIO, times=10)
            with pytest.raises(OSError, match="Input/output"):
                read_dataset("hospital", folder)
    with monkeypatch.context() as patched:
        # Only nibabel's glance at it failed, which calls that a file of no known type.
        fail_to_open(patched, "case01", errno.EIO, times=1)
        assert read_dataset("hospital", folder) == whole
    listed = os.scandir

    def gone(path):
        if str(path).endswith("anna"):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", gone)
    with pytest.raises(OSError, match="Stale"):
        hospital.read(folder)


class TestHowMany:
    @pytest.fixture
    def spoilt(self, tmp_path):
        data = nnunet(tmp_path / "data", 10)
        for case in (1, 2):
            (data / "imagesTr" / f"case0{case}.nii.gz").write_bytes(b"x")
        (data / "labelsTr" / "case03.nii.gz").write_bytes(b"x")
        return data

    def test_more_than_a_tenth_stops_and_says_why(self, tmp_path, spoilt):
        with pytest.raises(UserError) as caught:
            go(tmp_path, spoilt, max_rejected=0.1)
        said = str(caught.value)
        assert "3 of 10 scans rejected" in said
        assert "3: cannot be read" in said
        assert "--max-rejected 3" in said
        assert not (tmp_path / "run" / "manifest.csv").exists()
        assert len(read_csv(tmp_path / "run" / "rejected.csv")) == 3

    @pytest.mark.parametrize("limit", [0.3, 3.0, 20.0])
    def test_as_many_as_are_allowed_do_not(self, tmp_path, spoilt, caplog, limit):
        caplog.set_level(logging.INFO)
        assert len(read_manifest(go(tmp_path, spoilt, max_rejected=limit))) == 7
        assert any("3 of 10 scans rejected (3: cannot be read" in one for one in caplog.messages)

    @pytest.mark.parametrize("limit", [0.0, 0.29, 2.0])
    def test_one_more_does(self, tmp_path, spoilt, limit):
        with pytest.raises(UserError, match="3 of 10"):
            go(tmp_path, spoilt, max_rejected=limit)

    def test_copies_are_no_loss(self, tmp_path, data):
        for case in (5, 6, 7):
            shutil.copy(data / "imagesTr" / "case00.nii.gz", data / "imagesTr" / f"c{case}.nii.gz")
        assert len(read_manifest(go(tmp_path, data, max_rejected=0.0))) == 4

    def test_it_goes_on_where_it_was_when_more_are_allowed(self, tmp_path, spoilt, monkeypatch):
        with pytest.raises(UserError):
            run_stages(tmp_path / "r", small(data=str(spoilt), max_rejected=0.1), ["prepare"])
        read = []
        load = prepare_scan.load_scan
        monkeypatch.setattr(
            prepare_scan, "load_scan", lambda one: [read.append(one.name), load(one)][1]
        )
        run = run_stages(tmp_path / "r", small(data=str(spoilt), max_rejected=3.0), ["prepare"])
        assert len(read_manifest(run.folder("prepare"))) == 7
        assert set(read) <= {"case01", "case02", "case03"}


def test_a_pipe_is_not_waited_on(tmp_path):
    os.mkfifo(tmp_path / "scan.nii.gz")
    read_through([tmp_path / "scan.nii.gz"])
