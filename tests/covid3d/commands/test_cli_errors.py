"""What cannot work ends with status 2, one error, and what to do about it."""

import dataclasses
import errno
from pathlib import Path

import numpy as np
import pytest
import torch

from examples.covid3d.commands import options, stages
from examples.covid3d.commands.cli import main
from examples.covid3d.commands.options import setting_options
from examples.covid3d.common.config import STAGES, Config
from examples.covid3d.common.files import read_csv, write_array, write_torch
from examples.covid3d.run.settings_file import AUDIT
from examples.covid3d.scans.phantoms.cohort import IMAGES, MASKS
from tests.covid3d.failing import fail_to_open
from tests.covid3d.running import benchmark, files_of


@pytest.fixture(autouse=True)
def presets(monkeypatch, tiny):
    """Both presets made tiny."""
    small = dataclasses.replace(tiny, preset="small")
    monkeypatch.setattr(options, "PRESETS", {"demo": tiny, "small": small})


def error_of(capsys, *arguments):
    status = main(list(map(str, arguments)))
    said = capsys.readouterr().err
    assert status == 2
    assert "Traceback" not in said
    assert said.count("error:") == 1
    assert "To mend it" in said
    return said


@pytest.mark.parametrize("command", ["run", *STAGES])
@pytest.mark.parametrize(
    "arguments",
    [
        ["--patch", "33", "32", "32"],
        ["--teacher-steps", "0"],
        ["--unlabelled", "somewhere"],
        ["--device", "cuda:99"],
        ["--device", "toaster"],
        ["--data", "a", "--benchmark", "b"],
        ["--seeds", "1,1"],
        ["--data", "/nowhere/at/all"],
        ["--preset", "small"],
        ["--teacher-from", "/nowhere"],
    ],
)
def test_options_that_cannot_work(tmp_path, capsys, command, arguments):
    error_of(capsys, command, *arguments, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--methods", "magic"],
        ["run", "--methods", ","],
        ["run", "--kind", "pictures", "--data", "x"],
        ["run", "--seeds", "a"],
        ["run", "--preset", "huge"],
        ["predict", "scan.nii"],
        ["predict", "--method", "rgs"],
        ["predict", "scan.nii", "--method", "magic"],
        ["export-nnunet"],
        ["import-nnunet", "x", "--fold", "one"],
        ["dance"],
        [],
    ],
)
def test_arguments_that_do_not_parse(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--out", ""],
        ["run", "--data", ""],
        ["run", "--data", "x", "--unlabelled", " "],
        ["run", "--benchmark", ""],
        ["run", "--teacher-from", ""],
        ["predict", "", "--method", "rgs"],
        ["predict", "x.nii", "--method", "rgs", "--masks", ""],
        ["export-nnunet", ""],
        ["import-nnunet", ""],
    ],
)
def test_an_empty_path_is_not_taken_for_the_current_folder(
    tmp_path, capsys, monkeypatch, arguments
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "an empty path" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_mistyped_option_gets_two_lines_and_not_all_options(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--sede", "1"])
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 2
    assert "--help" in said


def numeric_options():
    """Every option of `run` that takes a number, with how many of them."""
    text = Config()
    numbers = {}
    for action in setting_options()._actions:
        if action.type in (int, float):
            value = getattr(text, action.dest)
            numbers[action.option_strings[0]] = (action.type, len(value) if action.nargs else 1)
    return numbers


# Zero patients, steps, voxels and the like cannot be; zero of a strength can.
ZERO = {
    "--limit", "--foreground-labels", "--spacing", "--folds", "--channels", "--patch",
    "--batch-size", "--learning-rate", "--teacher-steps", "--student-steps", "--teacher-epochs",
    "--student-epochs", "--patience", "--groups", "--checkpoint-every", "--validate-every",
    "--nsd-tolerance", "--window", "--shares",
}  # fmt: skip
ABSURD = {int: ("-5", "9" * 30), float: ("-5", "nan", "inf", "1e300")}
# A window may begin below zero; more rejects than there are scans are all of them.
FINE = {("--window", "-5"), ("--max-rejected", "1e300")}


def test_there_are_numeric_options():
    assert {"--split-seed", "--batch-size", "--window", "--patch"} <= set(numeric_options())


@pytest.mark.parametrize("option", numeric_options())
def test_a_number_that_cannot_be_is_refused_by_the_name_of_its_option(tmp_path, capsys, option):
    kind, count = numeric_options()[option]
    for number in ABSURD[kind]:
        for value in (number, "0") if option in ZERO else (number,):
            if (option, value) not in FINE:
                given = [option, *[value] * count]
                assert option in error_of(capsys, "prepare", *given, "--out", tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", ["-1", "0", "2", "9" * 30])
def test_folds_and_datasets_that_cannot_be(finished, tmp_path, capsys, number):
    out = ["--out", finished[0]]
    assert "--fold" in error_of(capsys, "import-nnunet", tmp_path, "--fold", number, *out)
    if number != "2":
        said = error_of(capsys, "export-nnunet", tmp_path, "--dataset-id", number, *out)
        assert "--dataset-id" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", ["-1", "1", "nan", "inf", "1e300"])
def test_overlaps_that_cannot_be(finished, tmp_path, capsys, number):
    (tmp_path / "scan.nii").write_bytes(b"")
    given = ["--method", "equal", "--out", finished[0], "--masks", tmp_path / "masks"]
    said = error_of(capsys, "predict", tmp_path / "scan.nii", *given, "--overlap", number)
    assert "--overlap" in said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.\nSee"),
            "lower --jobs, --batch",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), "not enough of it"),
        (MemoryError(), "not enough of it"),
        (OSError(errno.ESTALE, "Stale file handle", "/share/x"), "/share/x: Stale file handle"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "free space on that disk"),
    ],
)
def test_a_machine_at_its_end_is_said_in_words(tmp_path, capsys, monkeypatch, error, said):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(stages, "run_stages", fail)
    assert said in error_of(capsys, "run", "--preset", "demo", "--out", tmp_path / "run")


def test_a_fault_of_the_program_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "run_stages", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["run", "--preset", "demo", "--out", str(tmp_path / "run")])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_disk_that_is_full_is_named_by_the_file_that_it_was_for(tmp_path, monkeypatch):
    """Torch says `unexpected pos 704 vs 598`, NumPy no name."""
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda _, mode: real(Path("/dev/full"), mode))
    for write, content in (
        (write_torch, {"a": torch.zeros(10**6)}),
        (write_torch, {"a": torch.zeros(1)}),
        (write_array, np.zeros(10**6)),
    ):
        with pytest.raises(OSError, match="No space left") as caught:
            write(tmp_path / "file", content)
        assert caught.value.filename == str(tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_an_unknown_method_lists_those_there_are(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--methods", "magic"])
    said = capsys.readouterr().err
    assert "unknown method magic" in said
    assert "rgsm-al" in said


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_stage_without_those_before_it(tmp_path, capsys, stage):
    said = error_of(capsys, stage, "--out", tmp_path)
    assert f"`{stage}` needs `prepare`" in said
    assert f"python -m examples.covid3d prepare --out {tmp_path}" in said


def test_a_student_without_its_teacher(tmp_path, capsys):
    assert main(["prepare", "--out", str(tmp_path)]) == 0
    said = error_of(capsys, "student", "--out", tmp_path)
    assert "`student` needs `teacher/seed0`" in said


@pytest.mark.parametrize(
    "arguments",
    [["predict", "x.nii", "--method", "rgs"], ["export-nnunet", "raw"], ["import-nnunet", "p"]],
)
def test_commands_on_a_run_that_is_not_there(tmp_path, capsys, arguments):
    assert "config.json" in error_of(capsys, *arguments, "--out", tmp_path)


def test_a_prediction_by_a_row_that_was_not_trained(finished, capsys):
    out = finished[0]
    said = error_of(capsys, "predict", out, "--method", "rgs", "--out", out)
    assert "equal" in said


@pytest.mark.parametrize("input_", ["gone.nii", "gone"])
def test_a_prediction_of_nothing(finished, capsys, tmp_path, input_):
    arguments = [tmp_path / input_, "--method", "equal", "--out", finished[0]]
    error_of(capsys, "predict", *arguments, "--masks", tmp_path / "masks")


def test_an_overlap_that_cannot_be(finished, capsys, tmp_path):
    (tmp_path / "scan.nii").write_bytes(b"")
    arguments = ["--method", "equal", "--out", finished[0], "--masks", tmp_path / "masks"]
    said = error_of(capsys, "predict", tmp_path / "scan.nii", *arguments, "--overlap", "1.5")
    assert "--overlap" in said


def test_nnunet_alone_has_nothing_to_report_yet(tmp_path, capsys):
    said = error_of(capsys, "run", "--methods", "nnunet", "--out", tmp_path / "run")
    assert "nnunet" in said


def test_a_missing_folder(tmp_path, capsys):
    said = error_of(capsys, "run", "--benchmark", tmp_path / "gone", "--out", tmp_path / "run")
    assert "no such file or folder" in said
    assert IMAGES in said


def test_a_scan_without_a_mask_and_a_corrupt_one_are_named_and_left_out(tmp_path, capsys):
    data = benchmark(tmp_path / "data", 6)
    lost = sorted((data / MASKS).iterdir())[0]
    lost.unlink()
    broken = sorted((data / IMAGES).iterdir())[1]
    broken.write_bytes(broken.read_bytes()[:200])
    command = ["prepare", "--benchmark", str(data), "--out", str(tmp_path / "run")]
    assert "--max-rejected 2" in error_of(capsys, *command)
    assert main([*command, "--max-rejected", "2"]) == 0
    said = capsys.readouterr()
    assert "2 of 6 scans rejected" in said.err
    assert broken.name in said.out + said.err
    rows = read_csv(tmp_path / "run" / "prepare" / "rejected.csv")
    assert [row["where"] for row in rows] == [str(data / IMAGES / lost.name), str(broken)]
    assert "no mask" in rows[0]["reason"]
    assert "To mend it" in rows[1]["reason"]


def test_a_scan_in_both_folders_is_refused(tmp_path, capsys):
    data = benchmark(tmp_path / "data")
    given = ["--benchmark", data, "--unlabelled", data / IMAGES]
    assert "expert_01" in error_of(capsys, "prepare", *given, "--out", tmp_path / "run")


@pytest.mark.parametrize("where", ["", "run", "Infection_Mask/deep/run"])
def test_an_output_folder_inside_the_data(tmp_path, capsys, where):
    data = benchmark(tmp_path / "data")
    before = files_of(data)
    said = error_of(capsys, "run", "--benchmark", data, "--out", data / where)
    assert "lies in the data" in said
    other = ["--unlabelled", tmp_path / "data" / IMAGES, "--data", benchmark(tmp_path / "more")]
    said = error_of(capsys, "prepare", *other, "--out", data / IMAGES / "run")
    assert "lies in the data" in said
    assert files_of(data) == before


def test_an_output_folder_beside_the_data_with_a_name_that_begins_alike(tmp_path):
    data = benchmark(tmp_path / "data")
    assert main(["prepare", "--benchmark", str(data), "--out", str(tmp_path / "data-run")]) == 0


def test_no_share_for_the_teacher(tmp_path, capsys):
    shares = ["--shares", "0", "12", "0", "4"]
    data = benchmark(tmp_path / "data")
    said = error_of(capsys, "prepare", "--data", data, *shares, "--out", tmp_path / "run")
    assert "--teacher-from" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "1.5"])
def test_jobs_that_are_no_number(tmp_path, capsys, jobs):
    with pytest.raises(SystemExit) as caught:
        main(["run", "--jobs", jobs, "--out", str(tmp_path)])
    assert caught.value.code == 2
    assert "number of 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "prepare"])
def test_an_output_folder_that_is_a_file(tmp_path, capsys, command):
    (tmp_path / "run").write_text("precious")
    assert "this one is a file" in error_of(capsys, command, "--out", tmp_path / "run")
    said = error_of(capsys, command, "--out", tmp_path / "run" / "deeper")
    assert "a part of this one is a file" in said
    assert (tmp_path / "run").read_text() == "precious"


def test_too_many_folds(tmp_path, capsys):
    data = benchmark(tmp_path / "data")
    said = error_of(capsys, "run", "--data", data, "--folds", "9", "--out", tmp_path / "run")
    assert "lower --folds" in said


def test_a_kind_that_the_folder_is_not(tmp_path, capsys):
    data = benchmark(tmp_path / "data", 1)
    said = error_of(capsys, "prepare", "--data", data, "--kind", "nnunet", "--out", tmp_path / "r")
    assert "imagesTr" in said


def test_settings_that_a_disk_hides_for_a_moment_are_not_called_damaged(
    finished, capsys, monkeypatch
):
    fail_to_open(monkeypatch, "config.json", errno.EIO)
    said = error_of(capsys, "report", "--out", finished[0])
    assert "Input/output error" in said
    assert "delete" not in said


@pytest.mark.parametrize("content", ["", "{", '{"colour": 1}', "[]", '{"seeds": ["a"]}'])
def test_settings_that_cannot_be_read(tmp_path, capsys, content):
    (tmp_path / "config.json").write_text(content)
    assert "config.json" in error_of(capsys, "run", "--out", tmp_path)


@pytest.mark.parametrize("command", STAGES[1:])
def test_a_stage_of_a_run_that_is_not_there_leaves_no_folder_behind(tmp_path, capsys, command):
    said = error_of(capsys, command, "--out", tmp_path / "mistyped")
    assert f"`{command}` needs `prepare`: not there" in said
    assert not (tmp_path / "mistyped").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "scans", "--method", "rgs"],
        ["export-model", "model.pt2", "--method", "rgs"],
        ["export-nnunet", "raw"],
        ["import-nnunet", "raw"],
    ],
)
def test_what_starts_from_a_run_says_that_none_is_there(tmp_path, capsys, arguments):
    said = error_of(capsys, *arguments, "--out", tmp_path / "mistyped")
    assert "no run is there" in said
    assert "check --out" in said
    assert not (tmp_path / "mistyped").exists()


def test_what_starts_from_a_run_says_that_a_folder_is_that_of_an_audit(tmp_path, capsys):
    (tmp_path / AUDIT).write_text("{}")
    said = error_of(capsys, "export-nnunet", "raw", "--out", tmp_path)
    assert "the folder of an audit" in said


@pytest.mark.parametrize(
    ("command", "default"),
    [
        ("run", "runs/PRESET"),
        ("audit", "runs/audit"),
        ("audit-trial", "runs/hippocampus-audit"),
        ("predict", "runs/small"),
        ("export-model", "runs/small"),
    ],
)
def test_help_names_the_folder_that_a_command_takes_by_default(capsys, command, default):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"(default: {default})" in " ".join(capsys.readouterr().out.split())


def test_an_empty_path_is_not_the_current_folder_for_the_trial_of_the_audit(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["audit-trial", "--data", ""])
    assert "an empty path" in capsys.readouterr().err
