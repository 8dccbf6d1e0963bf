"""Choosing a reader, and what all of them share."""

import csv
from pathlib import Path

import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.scans.readers import LAYOUTS, READERS, Scan, guess_kind, read_dataset
from examples.covid3d.scans.readers.listing import folders_below, safe_names
from tests.covid3d.scans.readers.tree import plant

TREES = {
    "benchmark": ("COVID-19-CT-Seg_20cases/a.nii.gz", "Infection_Mask/a.nii.gz"),
    "challenge": ("a_ct.nii.gz", "a_seg.nii.gz"),
    "hospital": ("p1/scan.nii.gz",),
    "nnunet": ("imagesTr/a.nii.gz", "labelsTr/a.nii.gz"),
}


def dataset(root: Path, kind: str) -> Path:
    if kind != "csv":
        return plant(root, *TREES[kind])
    plant(root, "a.nii.gz")
    with (root / "a.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [["image", "label", "patient", "source"], ["a.nii.gz", *"   "]]
        )
    return root / "a.csv"


@pytest.mark.parametrize("kind", READERS)
def test_every_layout_is_recognised_and_read(tmp_path, kind):
    path = dataset(tmp_path, kind)
    assert guess_kind(path) == kind
    found = read_dataset(kind, path)
    assert len(found.scans) == 1
    assert Scan.from_json(found.scans[0].to_json()) == found.scans[0]


def test_every_reader_says_what_it_expects():
    assert set(READERS) == set(LAYOUTS)


def test_a_series_survives_json():
    scan = Scan("a", "p", "hospital", Path("/a"), None, "1.2.3")
    assert Scan.from_json(scan.to_json()) == scan


def test_what_cannot_be_recognised(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    for path in ("notes.txt", "empty", "gone"):
        assert guess_kind(tmp_path / path) is None
    assert guess_kind(plant(tmp_path / "up", "Train/a_ct.nii.gz")) == "challenge"


def test_unknown_kind(tmp_path):
    with pytest.raises(UserError, match=r"unknown kind 'nifti'[\s\S]*benchmark, challenge"):
        read_dataset("nifti", tmp_path)


@pytest.mark.parametrize("kind", READERS)
def test_missing_folder(tmp_path, kind):
    with pytest.raises(UserError, match="gone: no such file or folder"):
        read_dataset(kind, tmp_path / "gone")


def test_a_file_for_a_folder_and_a_folder_for_a_file(tmp_path):
    table = dataset(tmp_path, "csv")
    with pytest.raises(UserError, match="a file, not a folder"):
        read_dataset("hospital", table)
    with pytest.raises(UserError, match="a folder"):
        read_dataset("csv", tmp_path)


def test_nothing_found_says_what_is_there_and_which_reader_to_take(tmp_path):
    plant(tmp_path, "imagesTr/a.nii.gz", "imagesTr/._b.nii.gz")
    with pytest.raises(UserError) as caught:
        read_dataset("challenge", tmp_path)
    for words in ("no scan; it holds imagesTr/", "NAME_ct.nii.gz", "read it as nnunet"):
        assert words in str(caught.value)


@pytest.mark.parametrize("kind", ["challenge", "hospital"])
def test_empty_folder(tmp_path, kind):
    with pytest.raises(UserError, match="it holds nothing"):
        read_dataset(kind, tmp_path)


def test_long_listings_are_cut(tmp_path):
    for index in range(20):
        (tmp_path / f"{index:02d}.txt").touch()
    with pytest.raises(UserError, match=r"07\.txt, and 12 more"):
        read_dataset("hospital", tmp_path)


def test_links_are_followed_once(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "real")
    (root / "loop").symlink_to(root)
    files = [path.relative_to(root) for _, here in folders_below(root) for path in here]
    assert files == [Path("link/file")]


def test_names_are_unique_and_safe():
    parts = [("a", "b"), ("a_b",), ("A_B",), ("..", "x y/z"), ("é" * 300,), (".",), ("c",)]
    names = safe_names(parts, [str(index) for index in range(len(parts))])
    assert len({name.lower() for name in names}) == len(parts)
    assert names[-1] == "c"
    for name in names:
        assert not set(name) & set('/\\:*?"<>| ')
        assert not name.startswith(".")
        assert len(name.encode()) < 128
