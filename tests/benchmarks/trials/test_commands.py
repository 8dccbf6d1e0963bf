"""The three commands, end to end on small data sets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.label_issues.__main__ import main as label_issues
from benchmarks.label_noise.__main__ import main as label_noise
from benchmarks.trials.rows import ROWS
from benchmarks.weak_rules.__main__ import main as weak_rules
from support.replacing import TEMPORARY

pytest.importorskip("monai")  # whose version the description of the machine gives

TINY = "--batch 20 --epochs 1 --trusted 8 --seeds 2 --rates 0.05 0.1 --jobs 1"
IMAGES = f"{TINY} --pool 40 --validation 8"
NOISE = f"{IMAGES} --tasks symmetric-40-e10 teacher-e10 --rows plain plain+trusted mended-labels"


def noise_arguments(folder, output, *more):
    return ["--data", str(folder), "--output", str(output), *NOISE.split(), *more]


def stamps(output):
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
    assert label_noise(noise_arguments(folder, output)) == 0
    return output


def test_end_to_end(finished, capsys):
    # Two rates on seed 0, one on seed 1, and perhaps another for plain's best epoch.
    assert 6 * 3 <= len(stamps(finished)) <= 6 * 3 + 2
    text = (finished / "report.md").read_text(encoding="utf-8")
    assert "### symmetric-40-e10, 8 trusted images" in text
    assert "is the teacher's test accuracy" in text
    assert "recipe ≥ plain+trusted − its spread: teacher-e10" in text
    assert "Incomplete" not in text
    assert label_noise(["--report-only", "--output", str(finished)]) == 0
    assert "report.md" in capsys.readouterr().out


def test_only_what_is_missing_is_made_again(finished, folder):
    before, contents = stamps(finished), numbers(finished)
    gone = sorted(before)[3]
    gone.unlink()
    assert label_noise(noise_arguments(folder, finished)) == 0
    after = stamps(finished)
    assert {path for path in after if after[path] != before[path]} == {gone}
    assert numbers(finished) == contents


def test_two_processes_give_the_same_numbers(finished, folder, tmp_path):
    assert label_noise(noise_arguments(folder, tmp_path / "two", "--jobs", "2")) == 0
    assert numbers(tmp_path / "two") == numbers(finished)


def test_sets_that_are_not_there_are_left_out_and_named(folder, tmp_path, capsys):
    words = ["--data", str(folder), "--output", str(tmp_path), *IMAGES.split(), "--rows", "plain"]
    assert label_noise([*words, "--tasks", "symmetric-20-e10", "cifar10n-worse"]) == 0
    said = "cifar10n-worse: CIFAR-10N is not there"
    assert f"left out: {said}" in capsys.readouterr().err
    assert said in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_photographs_from_a_folder_of_all_sets(every_set, tmp_path):
    words = ["--data", str(every_set), "--output", str(tmp_path), *IMAGES.split()]
    assert (
        label_noise([*words, "--tasks", "cifar10n-worse", "--rows", "plain", "sample-weights"]) == 0
    )
    assert "cifar10n-worse" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_rules_and_names(every_set, tmp_path):
    words = ["--data", str(every_set), "--output", str(tmp_path), *TINY.split()]
    rows = ["plain", "random", "plain+trusted", "clean+trusted", "soft-labels", "sample-weights"]
    words += ["--tasks", "youtube-rules", "distant-names", "--rows", *rows]
    assert weak_rules([*words, "--trusted", "5"]) == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "### youtube-rules, 5 trusted texts a class" in text
    assert "recipe ≥ plain+trusted + 4, and > random: youtube-rules" in text
    names = text[text.index("### distant-names") : text.index("![accuracy]")]
    assert "| sample-weights |" in names
    assert "| clean+trusted |" not in names  # nobody knows the truth of those


def test_wrong_labels_are_looked_for(every_set, tmp_path):
    pytest.importorskip("cleanlab")
    words = ["--data", str(every_set), "--output", str(tmp_path), *TINY.split(), "--trusted", "4"]
    assert label_issues([*words, "--tasks", "hausa-votes"]) == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    for way in ("label_quality", "mean loss", "AUM", "TracIn", "cleanlab", "trusted alone"):
        assert f"| {way} | " in text
    assert "AUROC of label_quality ≥ every peer − 0.005: hausa-votes" in text
    lines = (tmp_path / "finding.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 2 * 8


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--epochs", "2"], "epochs 1 there, 2 here"),
        (["--pool", "42"], "--pool 42 cannot be spread evenly over 4 classes"),
        (["--pool", "4000"], "class 0 has 50 training images"),
        (["--trusted", "6"], "--trusted 6"),
        (["--batch", "50"], "--batch 50 is more than --pool 40"),
        (["--tasks", "imbalance-100-e10"], "imbalance-100 needs at least 100 images"),
        (["--data", "nowhere"], "nowhere is not a folder"),
        (["--cifar10n", "."], "--cifar10n . has no train.npz*"),
        (["--tasks", "cifar10n-worse"], "no data for any task: cifar10n-worse"),
    ],
)
def test_what_does_not_fit(finished, folder, capsys, options, says):
    before = stamps(finished)
    assert label_noise(noise_arguments(folder, finished, *options)) == 2
    assert says in capsys.readouterr().err
    assert stamps(finished) == before


@pytest.mark.parametrize("main", [label_noise, label_issues, weak_rules])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "--output"),
        (["--output", "x"], "--data is required"),
        (["--output", "x", "--seeds", "0"], "'0' is not a whole number above 0"),
        (["--output", "x", "--first-seed", "-1"], "--first-seed"),
        (["--output", "x", "--rates", "nan"], "'nan' is not a finite number"),
        (["--output", "x", "--tasks", "loud"], "loud"),
        (["--output", "x", "--rows", "loud"], "loud"),
    ],
)
def test_wrong_options(capsys, main, options, says):
    with pytest.raises(SystemExit) as error:
        main(options)
    assert error.value.code == 2
    assert says in capsys.readouterr().err


def test_the_command_in_the_report_names_no_folder(finished, folder):
    text = (finished / "report.md").read_text(encoding="utf-8")
    assert "`python -m benchmarks.label_noise --data PATH --output PATH --batch 20" in text
    assert str(folder) not in text


def test_help_names_every_row(capsys):
    with pytest.raises(SystemExit):
        label_noise(["--help"])
    told = "".join(capsys.readouterr().out.split())  # lines break within names
    assert all(name in told for name in ROWS)


def test_a_report_on_nothing(tmp_path, capsys):
    assert label_noise(["--report-only", "--output", str(tmp_path)]) == 2
    assert "holds no results" in capsys.readouterr().err


def test_an_output_that_is_a_file(folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert label_noise(noise_arguments(folder, tmp_path / "file")) == 2
    assert "error: " in capsys.readouterr().err


def test_an_interrupt_ends_it_in_one_line(folder, tmp_path):
    command = [sys.executable, "-m", "benchmarks.label_noise"]
    command += noise_arguments(folder, tmp_path / "out", "--epochs", "200", "--seeds", "9")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not stamps(tmp_path / "out") and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does, to every process
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.rstrip().endswith("interrupted; the same command goes on from here")
    assert "Traceback" not in errors
    assert not list((tmp_path / "out").rglob(f"{TEMPORARY}*"))
    for path in stamps(tmp_path / "out"):
        json.loads(path.read_text(encoding="utf-8"))
