"""Page, pictures and file, from made-up results."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from benchmarks.files import write_figure
from benchmarks.gpu import plot
from benchmarks.gpu.record import NAME, Record
from benchmarks.gpu.report import lines_by_stage, markdown
from tests.benchmarks.gpu.made_up import FULL, REST, SMALL, found, record


def rows(page: str, title: str) -> list[list[str]]:
    """The tables' cells below a heading, up to the next."""
    below = page.split(f"{title}\n", 1)[1].split("\n#", 1)[0]
    lines = [line for line in below.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_times_are_medians_over_plain_of_the_same_cell():
    heads, row = rows(markdown(record(), []), "### Time")
    table = dict(zip(heads, row, strict=True))
    assert table["model"] == "gpt2 64"
    assert table["samples"] == "8 + 8"
    assert table["plain (ms)"] == "10"
    assert table["default"] == "2.90 (2.70–2.95)"
    assert (
        table["higher"] == "5.50 (5.25–5.75)"
    )  # over 1 ms, which is not shown: one run, one plain
    assert table["floor"] == "2.00 (1.90–2.00)"
    assert table["layer-products"] == "–"
    assert table["l2r"] == "memory"


def test_memory_synchronisations_and_idle_time_have_tables():
    page = markdown(record(), [])
    assert dict(zip(*rows(page, "### Peak memory"), strict=True))["default"] == "× 1.50"
    assert dict(zip(*rows(page, "### Synchronisations a step"), strict=True))["default"] == "9"
    idle = dict(zip(*rows(page, "### Device idle"), strict=True))
    assert (idle["plain"], idle["default"]) == ("25%", "50%")


def test_a_quantity_nobody_measured_has_no_table():
    made = record()
    for _, each in made.cells:
        each.syncs, each.busy = {}, {}
    page = markdown(made, [])
    assert "### Synchronisations" not in page
    assert "### Device idle" not in page


def test_the_page_says_what_is_missing_and_why():
    page = markdown(record(), [SMALL, FULL])
    assert "a card" in page
    assert "3 passed, 1 failed; all have run. Failed: `tests/a.py::b`." in page
    assert "| gpt2 | 512 | 1024 would need about 90 GiB |" in page
    assert "| l2r | out of memory | gpt2 (float32, small batches); gpt2 (float32, batches" in page
    assert "not available: no such \\| method" in page
    assert "out of time" not in page.split("## What is missing")[1]
    assert "a way was left for another (gpt2 (float32, small batches))" in page
    assert "- float32, batches that fill: gpt2 64 × as many as fit" in page
    assert "figures say nothing" not in page
    made = record()
    made.same["settings"]["quick"] = True
    assert "figures say nothing" in markdown(made, [])


def test_all_lines_of_a_table_have_as_many_cells():
    for line in markdown(record(), []).split("### Time\n")[1].splitlines()[1:4]:
        assert line.count("|") == markdown(record(), []).split("### Time\n")[1].splitlines()[
            1
        ].count("|")


def test_a_picture_has_a_mark_for_each_figure(tmp_path):
    for stage, lines in lines_by_stage(record()).items():
        drawn = plot.figure(stage, lines, "a card")
        times, memory, idle = drawn.axes
        assert times.get_xlabel().startswith("time")
        shown = {text.get_text() for text in drawn.legends[0].get_texts()}
        assert {"floor", "default"} <= shown
        assert "l2r" not in shown  # it has nothing to show
        assert memory.get_xlim()[1] == pytest.approx(1.65)
        assert idle.get_xlim() == (-0.03, 1.03)
        write_figure(tmp_path / plot.file_name(stage), drawn)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "float32-batches-that-fill.png",
        "float32-small-batches.png",
    ]
    assert Image.open(tmp_path / "float32-small-batches.png").width > 1000


def test_a_picture_without_any_figure_says_why():
    made = record()
    (_, each), *_ = made.cells = made.cells[:1]
    each.measured.seconds = {}
    each.measured.time_errors = dict.fromkeys(each.measured.methods, "out of time")
    ((stage, lines),) = lines_by_stage(made).items()
    drawn = plot.figure(stage, lines, "a card")
    assert [text.get_text() for text in drawn.axes[0].texts] == ["out of time"]


def test_a_record_survives_its_file(tmp_path):
    made = record()
    made.write(tmp_path)
    back = Record.read(tmp_path, made.same, made.command)
    assert back == made
    assert json.loads((tmp_path / NAME).read_text(encoding="utf-8"))["complete"] is False


def test_a_complete_record_or_another_machines_is_not_taken_up(tmp_path):
    made = record()
    made.write(tmp_path)
    other = {**made.same, "machine": {"device": "another card"}}
    assert not Record.read(tmp_path, other, made.command).cells
    made.complete = True
    made.write(tmp_path)
    assert not Record.read(tmp_path, made.same, made.command).cells


@pytest.mark.parametrize(
    "content", ["[]", "{", {"results": [{"kind": "cell"}]}, {"results": [{"a": 1}]}]
)
def test_a_foreign_file_is_an_error_that_says_what_to_do(tmp_path, content):
    made = record()
    if isinstance(content, dict):
        content = json.dumps({"complete": False, **made.same, **content})
    (tmp_path / NAME).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="Move it away"):
        Record.read(tmp_path, made.same, made.command)


def test_what_is_known_gives_way_to_more_and_not_to_less():
    made = record()
    hurried = found(REST, 8, time_errors={"betty": "out of time"})
    hurried.measured.seconds = {}
    assert hurried.short
    made.add(REST, hurried)
    assert made.found(REST).measured.seconds
    better = found(REST, 8)
    better.syncs["floor"] = 1.0
    made.add(REST, better)
    assert made.found(REST) is better
    assert len(made.cells) == 3
