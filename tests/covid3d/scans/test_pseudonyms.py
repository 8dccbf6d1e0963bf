"""With ``--pseudonyms``, names and paths are in the folder ``private`` and nowhere else."""

import shutil

import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import read_csv
from examples.covid3d.run.pipeline import run_stages
from examples.covid3d.scans.manifest import patients_of, read_manifest
from examples.covid3d.scans.prepare import prepare
from examples.covid3d.scans.pseudonyms import Pseudonyms, real_names
from examples.covid3d.scans.readers.scan import Rejected
from examples.covid3d.scans.rejecting import read_failed
from tests.covid3d.running import nnunet, small

NAMES = ("smith", "jones", "brown", "white", "green", "black")


@pytest.fixture
def data(tmp_path):
    """Scans called by their patients' names; one is a copy, one cannot be read."""
    data = nnunet(tmp_path / "data", 6)
    for index, name in enumerate(NAMES):
        for part in ("imagesTr", "labelsTr"):
            (data / part / f"case{index:02d}.nii.gz").rename(data / part / f"{name}.nii.gz")
    shutil.copy(data / "imagesTr" / "smith.nii.gz", data / "imagesTr" / "jones.nii.gz")
    (data / "imagesTr" / "brown.nii.gz").write_bytes(b"x")
    (data / "labelsTr" / "taylor.nii.gz").write_bytes(b"x")
    return data


def made(tmp_path, data, name="run", **changes):
    folder = tmp_path / name / "prepare"
    folder.mkdir(parents=True, exist_ok=True)
    prepare(small(data=str(data), pseudonyms=True, **changes), folder, tmp_path / "none")
    return folder


def words_in(folder):
    """All that is written below a folder, names of files included."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    text = " ".join(str(path.relative_to(folder)) for path in paths)
    return text + " ".join(path.read_bytes().decode("latin-1") for path in paths)


def test_no_name_and_no_path_is_in_what_was_prepared(tmp_path, data):
    text = words_in(made(tmp_path, data))
    for name in (*NAMES, "taylor", str(tmp_path)):
        assert name not in text
    assert "scan-" in text
    assert "patient-" in text


def test_what_was_rejected_is_still_told_apart_and_why(tmp_path, data):
    folder = made(tmp_path, data)
    names = {row["scan"]: row["pseudonym"] for row in real_names(folder).values()}
    rows = {row["where"]: row["reason"] for row in read_csv(folder / "rejected.csv")}
    assert len(rows) == 3
    assert "cannot be read" in rows[names["brown"]]
    copy = rows.get(names["smith"]) or rows[names["jones"]]
    assert f"the same voxels as {names['jones']}" in copy or names["smith"] in copy
    (other,) = [where for where in rows if where.startswith("file-")]
    assert "a label without a case" in rows[other]
    # Those that may be usable another day are noted where the names are.
    assert [scan.image.name for _, scan in read_failed(folder)] == ["brown.nii.gz"]


def test_the_scans_are_found_by_the_table_that_is_kept_apart(tmp_path, data):
    folder = made(tmp_path, data)
    private = tmp_path / "run" / "private"
    assert private.stat().st_mode & 0o077 == 0
    assert {path.stat().st_mode & 0o077 for path in (private / "key", private / "names.csv")} == {0}
    entries = read_manifest(folder)
    assert {entry.image for entry in entries} == {"private"}
    assert all(entry.has_mask for entry in entries)
    scans = [entry.scan(folder) for entry in entries]
    assert {scan.image.parent for scan in scans} == {data / "imagesTr"}
    assert all(scan.image.is_file() and scan.mask.is_file() for scan in scans)
    assert {name.split("-")[0] for name in patients_of(folder, entries)} == {"scan"}
    assert set(patients_of(folder, entries).values()) < set(NAMES)
    private.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="kept apart"):
        entries[0].scan(folder)


def test_pseudonyms_are_stable_under_a_key_and_others_under_another(tmp_path, data):
    first = {entry.name for entry in read_manifest(made(tmp_path, data))}
    assert {entry.name for entry in read_manifest(made(tmp_path, data))} == first
    (tmp_path / "copy" / "private").mkdir(parents=True)
    shutil.copy(tmp_path / "run" / "private" / "key", tmp_path / "copy" / "private" / "key")
    assert {entry.name for entry in read_manifest(made(tmp_path, data, "copy"))} == first
    assert not {entry.name for entry in read_manifest(made(tmp_path, data, "other"))} & first


def test_a_key_that_was_cut_is_an_error(tmp_path):
    Pseudonyms(tmp_path)
    (tmp_path / "key").write_text("abc")
    with pytest.raises(UserError, match="no key"):
        Pseudonyms(tmp_path)


def test_other_paths_and_series_are_hidden_too(tmp_path):
    own = Pseudonyms(tmp_path)
    (one,) = own.hide(
        [Rejected("/data/a b, series 1.2.840.1.5", "not /data/x/y.dcm; 1.2.840.1.77 is 1.5 mm")],
        ["/data"],
    )
    assert one.where.startswith("file-")
    assert one.reason == "not (a file); (a series) is 1.5 mm"


def test_the_report_of_a_whole_run_has_no_name_and_no_path(tmp_path):
    data = nnunet(tmp_path / "hospital-of-x", 6)
    table = tmp_path / "patients-of-x.csv"
    table.write_text("scan,patient\n" + "".join(f"case0{i},mr-x{i}\n" for i in range(6)))
    config = small(data=str(data), patients=str(table), pseudonyms=True, methods=("supervised",))
    run = run_stages(tmp_path / "run", config)
    text = words_in(run.folder("report")) + words_in(run.folder("evaluate"))
    for name in ("case0", "mr-x", "hospital-of-x", "patients-of-x"):
        assert name not in text
    assert "(kept apart)" in (run.folder("report") / "report.html").read_text("utf-8")
    assert len(read_csv(run.folder("report") / "metrics.csv")) == 2
