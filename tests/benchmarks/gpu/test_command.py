"""The command line and whole runs, on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import run
from benchmarks.gpu.measure import Found
from benchmarks.gpu.options import parse

# What the GPU machine may lack.
LACKING = ("tqdm", "monai", "higher", "betty", "scipy", "nibabel", "pytest", "hypothesis")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_cuda_device_it_says_what_to_do(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main([])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "finds none" in " ".join(said.split())
    assert "--device cpu --quick" in " ".join(said.split())


def test_a_run_can_be_of_some_cells():
    options = parse(["--device", "cpu", "--only", "that fill: gpt2 64", "U-Net", "--rounds", "4"])
    assert [(cell.model, cell.amp) for cell in options.cells] == [
        *[("unet", None)] * 3,
        ("gpt2", None),
        *[("unet", "bfloat16")] * 3,
        ("gpt2", "bfloat16"),
    ]
    assert options.plan.rounds == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--budget", "0"], "--budget must be above 0"),
        (["--device", "tpu"], "cpu, cuda or cuda:N"),
        (["--models", "magic"], "invalid choice"),
        (["--rounds", "0"], "--rounds must be 1 or more"),
        (["--only", "magic"], 'like "float32, small batches: unet 48 × 4"'),
        (["--output", __file__], "must be a folder"),
    ],
)
def test_a_bad_option_is_named_and_the_status_is_2(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--device", "cpu", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_time_for_everything_is_below_eight_minutes():
    options = parse(["--device", "cpu"])
    assert options.budget <= 450
    assert options.for_tests <= 90
    assert parse(["--device", "cpu", "--quick"]).budget <= 110


def tiny(folder, *more):
    models = ["--models", "mlp-small", "--no-tests"]
    return [
        "--device",
        "cpu",
        "--quick",
        "--output",
        str(folder),
        "--budget",
        "200",
        *models,
        *more,
    ]


def without_compiling(monkeypatch):
    every = run.Options.cells.fget
    cells = property(lambda self: [cell for cell in every(self) if not cell.compiles])
    monkeypatch.setattr(run.Options, "cells", cells)


def test_an_interrupted_run_keeps_what_it_has_and_goes_on(tmp_path, monkeypatch, capsys):
    without_compiling(monkeypatch)
    measure, seen = run.measure, []

    def interrupted_at_the_third(setup, methods, *rest):
        seen.append((setup.batch, setup.amp, methods))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return measure(setup, methods, *rest)

    monkeypatch.setattr(run, "measure", interrupted_at_the_third)
    assert command.main(tiny(tmp_path)) == 130
    assert "the same command goes on" in capsys.readouterr().err
    kept = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert not kept["complete"]
    assert [result["kind"] for result in kept["results"]] == ["filling", "cell", "cell"]
    assert "## Not reached" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {
        "results.json",
        "report.md",
        "float32-small-batches.png",
        "float32-batches-that-fill.png",
    }

    assert command.main(tiny(tmp_path)) == 0
    assert len(seen) == 7  # six cells, one of them begun twice
    assert len({(batch, amp, methods) for batch, amp, methods in seen}) == 6
    result = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert result["complete"]
    assert result["command"] == (
        "python -m benchmarks.gpu --device cpu --quick --output PATH --budget 200 --models "
        "mlp-small --no-tests"
    )
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## Float32, batches that fill" in page
    assert "## Not reached" not in page
    assert "| mlp-small 4 | 4 + 4 |" in page


def test_a_lost_device_ends_the_run_and_a_cell_that_fails_does_not(tmp_path, monkeypatch, capsys):
    without_compiling(monkeypatch)
    monkeypatch.setattr(run, "build_problem", lambda _: 1 / 0)  # no warm-up either
    answers = iter([None, None, "RuntimeError: an illegal memory access"])
    monkeypatch.setattr(run, "device_answers", lambda _: next(answers))
    assert command.main(tiny(tmp_path)) == 1
    assert "answers no more: RuntimeError: an illegal memory access" in capsys.readouterr().err
    kept = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    cells = [result for result in kept["results"] if result["kind"] == "cell"]
    assert len(cells) == 3
    assert Found.from_json(cells[0]["found"]).measured.seconds


def test_it_needs_no_other_package(tmp_path):
    blocked = f"import sys; sys.modules.update(dict.fromkeys({LACKING!r}))"
    only = ["--models", "mlp-small", "unet-groupnorm", "--budget", "4"]
    arguments = ["--device", "cpu", "--quick", "--output", str(tmp_path), *only]
    code = f"{blocked}; from benchmarks.gpu.__main__ import main; sys.exit(main({arguments!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "pytest and hypothesis not installed" in page


@pytest.mark.slow
def test_a_whole_quick_run(tmp_path):
    done = subprocess.run(
        [
            *[sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--quick"],
            *["--output", str(tmp_path)],
        ],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## The library's tests on cpu" in page
    assert "## Float32, small batches" in page
    assert (tmp_path / "float32-small-batches.png").exists()
