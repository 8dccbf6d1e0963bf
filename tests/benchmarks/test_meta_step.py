"""The benchmark of the meta-step, at its smallest size."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from benchmarks.meta_step.timing import interleaved, ratios

pytest.importorskip("monai")


def test_steps_are_interleaved_and_warm_rounds_do_not_count():
    calls = []
    steps = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = interleaved(steps, 3, 2, torch.device("cpu"), progress=str)
    assert calls == list("ab") * 5
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 3, "b": 3}


def test_ratios_are_taken_round_by_round():
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]


def run(*options):
    command = [sys.executable, "-m", "benchmarks.meta_step", "--size", "32", "--rounds", "1"]
    return subprocess.run(
        [*command, "--batch", "1", "--trusted-batch", "1", *options],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_prints_a_table_and_writes_every_time(tmp_path):
    output = tmp_path / "times.json"
    done = run("--variants", "last layer alone", "--output", str(output))
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[1:]] == ["| plain", "| last layer alone"]
    result = json.loads(output.read_text())
    assert set(result["seconds"]) == set(result["peak_mib"]) == {"plain", "last layer alone"}
    assert all(peak["tensors"] > 0 for peak in result["peak_mib"].values())
    assert result["machine"]["torch"] == torch.__version__


def test_a_size_that_the_network_cannot_take():
    done = run("--size", "40")
    assert done.returncode == 2
    assert "multiple of 16" in done.stderr
