"""Table and plot, from made-up measurements."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from benchmarks.files import write_figure, write_json
from benchmarks.meta_step.memory import Peak
from benchmarks.meta_step.plot import figure
from benchmarks.meta_step.summary import Measurement, quartiles, rows
from benchmarks.meta_step.table import markdown
from benchmarks.meta_step.unfinished import RESULT, unfinished


def made_up() -> Measurement:
    return Measurement(
        "a model, seed 0",
        {"model": "mlp"},
        ["plain", "floor", "default", "vmap", "l2r"],
        seconds={
            "plain": [1.0, 2.0, 1.0],
            "floor": [2.0, 4.0, 1.8],
            "default": [3.0, 5.0, 2.9],
            "l2r": [5.0, 8.0, 6.0],
        },
        peaks={"plain": Peak(10, 20), "floor": Peak(10, 20), "default": Peak(15, None)},
        time_errors={"vmap": "RuntimeError: add_ | batch norm"},
        memory_errors={"vmap": "RuntimeError: add_ | batch norm", "l2r": "out of memory"},
    )


def test_figures_of_a_row():
    row = {row.method: row for row in rows(made_up())}["default"]
    assert row.time == (2.7, 2.9, 2.95)  # of 3.0, 2.5, 2.9
    assert row.above_floor == 1.0  # of 1.0, 0.5, 1.1
    assert row.seconds == 3.0
    assert (row.tensors_ratio, row.resident_ratio) == (1.5, None)


def test_the_table():
    lines = markdown(made_up()).splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert lines[2] == "| plain | 1.00 |  |  | 1 | × 1.00 (10 MiB) | × 1.00 (20 MiB) |"
    assert lines[4] == (
        "| default | 2.90 | 2.70–2.95 | +1.00 | 3 | × 1.50 (15 MiB) | not measured |"
    )
    assert "error: RuntimeError: add\\_ \\| batch norm" in lines[5]
    assert lines[5].count("RuntimeError") == 1  # the same error is not said twice
    assert "| 5.00 | 4.50–5.50 | +3.00 | 6 | error: out of memory |" in lines[6]


def test_without_plain_there_are_seconds_but_no_ratios():
    measured = made_up()
    del measured.seconds["plain"]
    found = rows(measured)
    assert all(row.time is None and row.above_floor is None for row in found)
    assert found[2].seconds == 3.0
    markdown(measured)
    figure(measured)


def test_a_long_error_is_cut_in_the_table():
    measured = made_up()
    measured.time_errors["vmap"] = "RuntimeError: " + "long " * 100
    line = markdown(measured).splitlines()[5]
    assert len(line) < 250
    assert "…" in line


def test_one_value_is_its_own_quartiles():
    assert quartiles([3.0]) == (3.0, 3.0, 3.0)


def test_the_plot_has_a_bar_for_each_figure_and_says_why_others_lack(tmp_path):
    drawn = figure(made_up())
    times, memory = drawn.axes
    assert [bar.get_width() for bar in times.patches] == [1.0, 2.0, 2.9, 5.0]
    assert [bar.get_width() for bar in memory.patches] == [1.0, 1.0, 1.5]
    texts = [text.get_text() for text in memory.texts]
    assert "out of memory" in texts
    low, high = times.get_ylim()
    assert high < 0 < 4 < low  # all five rows are in view, plain on top
    write_figure(tmp_path / "a" / "plot.png", drawn)
    assert Image.open(tmp_path / "a" / "plot.png").width > 1000
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["plot.png"]


def test_a_measurement_survives_json():
    measured = made_up()
    assert Measurement.from_json(json.loads(json.dumps(measured.as_json()))) == measured


def test_only_an_unfinished_result_of_the_same_settings_is_taken_up(tmp_path):
    same = {"settings": {"rounds": 3, "methods": ("plain",)}, "machine": {"torch": "2"}}
    assert unfinished(tmp_path, same) == []
    result = {"complete": False, **same, "results": [{"a": 1}]}
    write_json(tmp_path / RESULT, result)
    assert unfinished(tmp_path, same) == [{"a": 1}]
    assert unfinished(tmp_path, {**same, "machine": {"torch": "3"}}) == []
    write_json(tmp_path / RESULT, {**result, "complete": True})
    assert unfinished(tmp_path, same) == []


@pytest.mark.parametrize("content", ["{", "[]", '{"complete": false}'])
def test_a_foreign_result_is_an_error_that_says_what_to_do(tmp_path, content):
    (tmp_path / "result.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="Move it away"):
        unfinished(tmp_path, {})
