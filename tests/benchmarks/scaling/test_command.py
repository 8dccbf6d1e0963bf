"""The command line of the sweeps."""

from __future__ import annotations

import json

import pytest

from benchmarks.scaling import __main__ as command
from benchmarks.scaling.axes import AXES
from benchmarks.scaling.options import DEFAULT_METHODS, parse
from benchmarks.scaling.sweep import Sweep

TINY = ["--axes", "mlp-depth", "--values", "1", "2", "--rounds", "1", "--methods", "l2r"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--axes", "height"], "invalid choice"),
        (["--values", "3"], "give that axis"),
        (["--axes", "mlp-depth", "--values", "0"], "at least 1, got 0"),
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--device", "abacus"], "cpu, cuda or cuda:N"),
        (["--output", __file__], "must be a folder"),
    ],
)
def test_a_bad_option_is_named_and_the_status_is_2(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_defaults_are_every_axis_over_its_own_range():
    options = parse([])
    assert options.values == {name: axis.values for name, axis in AXES.items()}
    assert set(options.methods) == set(DEFAULT_METHODS)
    assert parse(["--methods", "l2r"]).methods == ("plain", "l2r")


def test_a_run_prints_exponents_and_writes_everything(tmp_path, capsys):
    assert command.main([*TINY, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| hidden layers of an MLP | plain |" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "result.json",
        "scaling.png",
        "table.md",
    ]
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == printed
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result["complete"]
    assert [point["value"] for point in result["results"]] == [1, 2]


def test_an_interrupted_run_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    point, seen = Sweep.point, []

    def interrupted_at_the_second(self, value, methods):
        seen.append(value)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return point(self, value, methods)

    monkeypatch.setattr(Sweep, "point", interrupted_at_the_second)
    assert command.main([*TINY, "--output", str(tmp_path)]) == 130
    assert "goes on with the next point" in capsys.readouterr().err
    assert command.main([*TINY, "--output", str(tmp_path)]) == 0
    assert seen == [1, 2, 2]


def test_a_method_with_a_note_is_not_tried_at_larger_values(monkeypatch, capsys):
    point, asked = Sweep.point, []

    def noting(self, value, methods):
        asked.append(list(methods))
        found = point(self, value, ["plain"])
        found.notes = {"l2r": "out of memory"} if "l2r" in methods else {}
        return found

    monkeypatch.setattr(Sweep, "point", noting)
    assert command.main(TINY) == 0
    assert asked == [["plain", "l2r"], ["plain"]]
    assert "at 1: out of memory" in capsys.readouterr().out
