from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.label_noise.__main__ import main
from support.replacing import TEMPORARY

pytest.importorskip("monai")  # whose version the description of the machine gives

TINY = "--pool 40 --validation 8 --batch 20 --epochs 1 --trusted 8 --seeds 2 --rates 0.05 0.1"
TINY += " --noises symmetric-40 teacher --methods plain mixed rgsm --jobs 1"


def arguments(folder, output, *more):
    return ["--data", str(folder), "--output", str(output), *TINY.split(), *more]


def results(output):
    return {path: path.stat().st_mtime_ns for path in (output / "runs").glob("*.json")}


def numbers(output):
    found = {}
    for path in (output / "runs").glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        found[path.name] = {k: v for k, v in content.items() if k != "seconds"}
    return found


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("finished") / "results"
    assert main(arguments(folder, output)) == 0
    return output


def test_end_to_end(finished, capsys):
    assert len(results(finished)) == 6 * 4
    text = (finished / "report.md").read_text(encoding="utf-8")
    assert "### symmetric-40, 8 trusted images" in text
    assert "is the teacher's test accuracy" in text
    assert "Incomplete" not in text
    assert main(["--report-only", "--output", str(finished)]) == 0
    assert "report.md" in capsys.readouterr().out


def test_only_what_is_missing_is_made_again(finished, folder):
    before, contents = results(finished), numbers(finished)
    gone = sorted(before)[3]
    gone.unlink()
    assert main(arguments(folder, finished)) == 0
    after = results(finished)
    assert {path for path in after if after[path] != before[path]} == {gone}
    assert numbers(finished) == contents


def test_two_processes_give_the_same_numbers(finished, folder, tmp_path):
    assert main(arguments(folder, tmp_path / "two", "--jobs", "2")) == 0
    assert numbers(tmp_path / "two") == numbers(finished)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--epochs", "2"], "epochs 1 there, 2 here"),
        (["--pool", "42"], "--pool 42 cannot be spread evenly over 4 classes"),
        (["--pool", "4000"], "class 0 has 50 training images"),
        (["--trusted", "6"], "--trusted 6"),
        (["--batch", "50"], "--batch 50 is more than --pool 40"),
        (["--noises", "imbalance-100"], "imbalance-100 needs at least 100 images"),
        (["--noises", "asymmetric-40", "--confusions", "fashion"], "--confusions next"),
        (["--data", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_what_does_not_fit(finished, folder, capsys, options, says):
    before = results(finished)
    assert main(arguments(folder, finished, *options)) == 2
    assert says in capsys.readouterr().err
    assert results(finished) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "--output"),
        (["--output", "x"], "--data is required"),
        (["--output", "x", "--seeds", "0"], "'0' is not a whole number above 0"),
        (["--output", "x", "--rates", "nan"], "'nan' is not a finite number"),
        (["--output", "x", "--noises", "loud"], "loud"),
    ],
)
def test_wrong_options(capsys, options, says):
    with pytest.raises(SystemExit) as error:
        main(options)
    assert error.value.code == 2
    assert says in capsys.readouterr().err


def test_a_report_on_nothing(tmp_path, capsys):
    assert main(["--report-only", "--output", str(tmp_path)]) == 2
    assert "holds no results" in capsys.readouterr().err


def test_an_output_that_is_a_file(folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(arguments(folder, tmp_path / "file")) == 2
    assert "error: " in capsys.readouterr().err


def test_an_interrupt_ends_it_in_one_line(folder, tmp_path):
    command = [sys.executable, "-m", "benchmarks.label_noise"]
    command += arguments(folder, tmp_path / "out", "--epochs", "200", "--seeds", "9")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not results(tmp_path / "out") and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does, to every process
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.rstrip().endswith("interrupted; the same command goes on from here")
    assert "Traceback" not in errors
    assert not list((tmp_path / "out").rglob(f"{TEMPORARY}*"))
    for path in results(tmp_path / "out"):
        json.loads(path.read_text(encoding="utf-8"))
