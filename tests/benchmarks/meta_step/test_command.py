"""The command line, errors and whole runs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from benchmarks.meta_step import __main__ as command
from benchmarks.meta_step import measuring
from benchmarks.meta_step.methods import DEFAULT, METHODS
from benchmarks.meta_step.models import MODELS
from benchmarks.meta_step.options import parse

TINY = ["--model", "mlp", "--size", "8", "--batch", "2", "--rounds", "1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "40"], "a multiple of 16, >= 32; got 40"),
        (["--model", "resnet18", "--size", "8"], "must be at least 32"),
        (["--model", "all", "--size", "64"], "give one --model"),
        (["--batch", "0"], "--batch must be at least 1"),
        (["--trusted-batch", "-1"], "--trusted-batch must be at least 1"),
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--device", "tpu"], "cpu, cuda or cuda:N"),
        (["--device", "meta"], "cpu, cuda or cuda:N"),
        (["--amp", "bfloat16", "--dtype", "float64"], "leave out --dtype"),
        (["--methods", "magic"], "invalid choice"),
        (["--output", __file__], "must be a folder"),
    ],
)
def test_a_bad_option_is_named_and_the_status_is_2(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--device", "cuda"])
    assert ended.value.code == 2
    assert "finds no CUDA device" in capsys.readouterr().err


def test_defaults():
    options = parse([])
    assert options.methods == DEFAULT
    (setup,) = options.setups
    assert (setup.model, setup.size, setup.batch, setup.trusted_batch) == ("unet", 48, 4, 4)
    assert [setup.model for setup in parse(["--model", "all"]).setups] == list(MODELS)
    assert parse(["--methods", "l2r"]).methods == ("plain", "floor", "l2r")
    assert parse(["--batch", "3"]).setups[0].trusted_batch == 3


def test_a_whole_run_at_the_smallest_size_in_a_process_of_its_own():
    pytest.importorskip("monai")
    done = subprocess.run(
        [
            *[sys.executable, "-m", "benchmarks.meta_step", "--size", "32", "--batch", "1"],
            *["--rounds", "1", "--methods", "last-layer", "--no-memory", "--threads", "1"],
        ],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[1:]] == ["| plain", "| floor", "| last-layer"]
    assert "1 noisy + 1 trusted volumes of 1 × 32³" in done.stdout


def test_a_run_writes_every_time_and_peak_and_a_failing_method_is_a_row(
    tmp_path, monkeypatch, capsys
):
    def broken(_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setitem(METHODS, "vmap", broken)  # here alone: its memory is measured elsewhere
    status = command.main([*TINY, "--methods", "vmap", "--output", str(tmp_path)])
    assert status == 0
    printed = capsys.readouterr().out
    assert "| vmap | error: out of memory |" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mlp.png",
        "result.json",
        "table.md",
    ]
    assert (tmp_path / "table.md").read_text(encoding="utf-8").strip() in printed
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result["complete"]
    assert result["command"].startswith("python -m benchmarks.meta_step --model mlp --size 8")
    assert result["machine"]["torch"] == torch.__version__
    (measured,) = result["results"]
    assert set(measured["seconds"]) == {"plain", "floor"}
    assert measured["time_errors"] == {"vmap": "out of memory"}
    assert set(measured["peaks"]) == {"plain", "floor", "vmap"}
    assert all(peak["tensors"] > 0 for peak in measured["peaks"].values())


def test_plain_training_that_fails_is_status_1(monkeypatch, capsys):
    def broken(_):
        raise RuntimeError("no")

    monkeypatch.setitem(METHODS, "plain", broken)
    assert command.main([*TINY, "--methods", "l2r", "--no-memory"]) == 1
    assert "| plain | error: RuntimeError: no |" in capsys.readouterr().out


def test_an_interrupted_run_of_several_models_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "benchmarks.meta_step.options.MODELS",
        {name: MODELS[name] for name in ("transformer", "mlp")},
    )
    arguments = ["--model", "all", "--batch", "1", "--rounds", "1", "--no-memory"]
    arguments += ["--methods", "plain", "--output", str(tmp_path)]
    measure, seen = measuring.measure, []

    def interrupted_at_the_second(setup, *rest, **options):
        seen.append(setup.model)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return measure(setup, *rest, **options)

    monkeypatch.setattr(command, "measure", interrupted_at_the_second)
    assert command.main(arguments) == 130
    assert "Interrupted; the same command goes on" in capsys.readouterr().err
    assert command.main(arguments) == 0
    assert seen == ["transformer", "mlp", "mlp"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "transformer.png",
        "mlp.png",
        "result.json",
        "table.md",
    }


def test_a_foreign_result_in_the_folder_is_an_error(tmp_path, capsys):
    (tmp_path / "result.json").write_text("[]", encoding="utf-8")
    assert command.main([*TINY, "--no-memory", "--output", str(tmp_path)]) == 2
    assert "Move it away" in capsys.readouterr().err


def test_profiles_are_printed(capsys):
    assert command.main([*TINY, "--profile", "l2r"]) == 0
    printed = capsys.readouterr().out
    assert "## plain" in printed
    assert "## l2r" in printed
    assert "| phase | ms | share of the step | × plain |" in printed
