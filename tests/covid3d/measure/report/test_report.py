"""The report of a whole run: one file, whose every number is in a table beside it."""

import dataclasses
import re
from html.parser import HTMLParser
from statistics import median

import pytest
import torch

from examples.covid3d.common.files import read_csv
from examples.covid3d.measure.report.provenance import caution
from examples.covid3d.run.pipeline import run_stages
from examples.covid3d.run.presets import PRESETS
from tests.covid3d.running import files_of, hide_masks, nnunet, small


@pytest.fixture(scope="module")
def page(finished):
    return (finished[0] / "report" / "report.html").read_text(encoding="utf-8")


class Balance(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, _):
        self.seen.add(tag)
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, _):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_is_one_file_that_needs_nothing_else(page):
    assert page.startswith("<!DOCTYPE html>")
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    # Two figures and a strip of slices for each of the two test scans.
    assert len(sources) == 4
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert not re.search(r"url\(|@import|https?://|fetch\(|import\(", page)
    assert len(page) < 400_000


def test_parses_with_every_tag_closed(page):
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert {"table", "caption", "figure", "img", "ul", "h2", "svg", "dl"} <= parser.seen


def test_says_what_it_is(page, finished):
    for word in (
        "Fully supervised (teacher)",
        "Equal weights",
        "RGS&amp;M+AL",
        "HD95",
        "NSD",
        "Missed",
        "not evidence",
        "waiting for batches",
        "Seeds 0.",
        torch.__version__.split("+")[0],
    ):
        assert word in page
    assert "NSD at 3 mm" not in (finished[0] / "report" / "tables.md").read_text(encoding="utf-8")
    assert "NSD the normalised surface Dice at 3 mm" in page


def test_tables_are_there_as_csv_and_markdown(finished):
    out, config = finished
    folder = out / "report"
    names = set(files_of(folder))
    assert {"all_metrics.csv", "differences.csv", "metrics.csv", "training.csv"} <= names
    assert {"pseudo_labels.csv", "tables.md", "verdict.txt", "overlay.png", "curves.png"} <= names
    table = read_csv(folder / "all_metrics.csv")
    assert len(table) == len(config.methods)
    text = (folder / "tables.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert len(blocks) >= 2
    for block in blocks:
        lines = [line.replace("\\|", "") for line in block.splitlines()]
        assert len({line.count("|") for line in lines}) == 1
    for line in (folder / "verdict.txt").read_text(encoding="utf-8").splitlines():
        assert f"- {line}" in text


def test_means_in_the_table_are_those_of_the_metrics(finished):
    out, _ = finished
    rows = read_csv(out / "report" / "metrics.csv")
    (line,) = [r for r in read_csv(out / "report" / "all_metrics.csv") if r["Method"] == "RGS&M+AL"]
    own = [float(row["dice"]) for row in rows if row["method"] == "rgsm-al"]
    assert float(line["Dice, mean ↑"]) == pytest.approx(sum(own) / len(own))
    assert float(line["Dice, median ↑"]) == pytest.approx(median(own))


def test_pictures_are_pictures(finished):
    for name in ("overlay.png", "curves.png"):
        assert (finished[0] / "report" / name).read_bytes().startswith(b"\x89PNG")


def test_truth_of_pseudo_labels_is_told_where_there_is_one(finished, page):
    rows = read_csv(finished[0] / "report" / "pseudo_labels.csv")
    assert len(rows) == 3
    assert all(0 <= float(row["dice"]) <= 1 for row in rows)
    assert "True Dice of 3 pseudo-labels" in page


def test_where_there_is_no_truth_it_says_so_and_names_what_was_rejected(tmp_path):
    data = nnunet(tmp_path / "data", 8)
    hide_masks(data, "case06", "case07")
    bad = data / "imagesTr" / "zz_bad.nii.gz"
    bad.write_bytes(b"x")
    config = small(data=str(data), methods=("equal", "rgsm-al"))
    out = run_stages(tmp_path / "run", config).path / "report"
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "no expert mask to compare with" in text
    assert str(bad) in text
    assert "8 scans of 8 patients were prepared, 1 rejected" in text
    assert "<h2>Weights" not in text
    assert "One seed: what differs here may differ by chance" in text
    assert "with one seed" in (out / "verdict.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("seeds", "said"),
    [((0,), "One seed:"), ((0, 1), "2 seeds:"), ((0, 1, 2), "")],
)
def test_few_seeds_are_owned_up_to(seeds, said):
    text = caution(dataclasses.replace(PRESETS["small"], data="x", seeds=seeds))
    assert said in text
    assert ("by chance" in text) == bool(said)
    assert "Synthetic phantoms" in caution(PRESETS["demo"])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiments")
    return str(nnunet(folder / "data", 11)), str(only_images(folder / "other"))


def only_images(folder):
    nnunet(folder, 2, seed=5)
    for i, path in enumerate(sorted((folder / "imagesTr").iterdir())):
        path.rename(folder / f"hospital{i}.nii.gz")
    for path in (folder / "labelsTr").iterdir():
        path.unlink()
    (folder / "labelsTr").rmdir()
    (folder / "imagesTr").rmdir()
    return folder


def shrunk(preset, data, **changes):
    """A preset of the paper's experiments with tiny numbers, its shape left as it is."""
    names = ("spacing", "channels", "patch", "batch_size", "teacher_steps", "student_steps")
    names += ("groups", "checkpoint_every", "validate_every", "overlap")
    tiny = small()
    rest = {name: getattr(tiny, name) for name in names}
    rest |= {"data": data[0], "unlabelled": data[1]} | changes
    return dataclasses.replace(PRESETS[preset], **rest)


def test_experiments_have_the_papers_numbers_beside_ours(tmp_path, data):
    config = shrunk("experiment-1-small", data, folds=4)
    first = run_stages(tmp_path / "one", config).path
    text = (first / "report" / "tables.md").read_text(encoding="utf-8")
    assert "Folds, in the layout of the paper's Table 3" in text
    assert "Paper" in text
    # The paper's mean Dice of RGS&M+AL, in its Table 3.
    table = read_csv(first / "report" / "table3.csv")
    (paper,) = [name for name in table[0] if "aper" in name and not name.endswith("std")]
    assert {row["Method"] for row in table} == {
        "Fully supervised (teacher)", "RGS", "RGS+AL", "RGS&M+AL"
    }  # fmt: skip
    assert all(row[paper] for row in table)
    assert (first / "report" / "table4.csv").exists()
    assert len([name for name in table[0] if "old" in name and not name.endswith("std")]) >= 4
    others = nnunet(tmp_path / "others", 11, seed=8)
    for path in others.glob("*/case*"):
        path.rename(path.with_name(path.name.replace("case", "other")))
    config = shrunk(
        "experiment-2-small",
        (str(others), data[1]),
        folds=2,
        teacher_from=str(first),
        methods=("supervised", "rgs"),
    )
    second = run_stages(tmp_path / "two", config).path
    assert not (second / "teacher").exists()
    text = (second / "report" / "tables.md").read_text(encoding="utf-8")
    assert "Folds, in the layout of the paper's Table 2" in text
    table = read_csv(second / "report" / "table2.csv")
    (paper,) = [name for name in table[0] if "aper" in name and not name.endswith("std")]
    assert all(row[paper] for row in table)
    rows = read_csv(second / "report" / "metrics.csv")
    assert len([row for row in rows if row["method"] == "supervised"]) == 11
