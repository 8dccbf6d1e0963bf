"""The command line: what each command does with the settings that it is given or finds."""

import dataclasses
import importlib
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from examples.covid3d.audit.settings import DEFAULTS, keep
from examples.covid3d.commands import audit as audit_module
from examples.covid3d.commands import finished_run, options
from examples.covid3d.commands import stages as stage_commands
from examples.covid3d.commands.cli import main
from examples.covid3d.commands.table import COMMANDS
from examples.covid3d.common.config import KINDS, STAGES, to_json
from examples.covid3d.common.files import read_csv, write_nifti
from examples.covid3d.methods.names import EXTERNAL_ROWS, ROW_NAMES
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run import pipeline
from examples.covid3d.run.presets import PRESETS
from examples.covid3d.scans.manifest import read_manifest
from examples.covid3d.scans.nifti import load_image
from examples.covid3d.scans.patients import ROLES
from examples.covid3d.scans.phantoms.cohort import IMAGES
from examples.covid3d.scans.readers import READERS
from tests.covid3d.running import benchmark

NAMES = tuple(command.name for command in COMMANDS)


@pytest.fixture(autouse=True)
def presets(monkeypatch, tiny):
    """Both presets made tiny."""
    demo = dataclasses.replace(tiny, teacher_steps=2, student_steps=2, methods=("equal", "rgs"))
    small = dataclasses.replace(demo, preset="small")
    monkeypatch.setattr(options, "PRESETS", {"demo": demo, "small": small})


@pytest.fixture
def nothing_runs(monkeypatch):
    """Stages that note their name and write nothing else."""
    ran = []

    def stage(name):
        def units(context):
            yield (), [], lambda _: ran.append((name, context.config))

        return units

    monkeypatch.setattr(pipeline, "UNITS_OF", {name: stage(name) for name in STAGES})
    monkeypatch.setattr(stage_commands, "print", lambda *_: None, raising=False)
    read = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda p, **k: "" if p.name == "verdict.txt" else read(p, **k)
    )
    return ran


@pytest.mark.parametrize(
    ("given", "jobs"),
    [
        (["--preset", "demo"], 2),
        ([], 2),
        (["--preset", "small"], 1),
        (["--preset", "demo", "--jobs", "1"], 1),
        (["--preset", "small", "--jobs", "3"], 3),
    ],
)
def test_the_demo_trains_two_at_a_time_unless_told(tmp_path, monkeypatch, given, jobs):
    asked = []

    def stopped(*_, **options):
        asked.append(options["jobs"])
        raise KeyboardInterrupt

    monkeypatch.setattr(stage_commands, "run_stages", stopped)
    monkeypatch.setattr(stage_commands.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(stage_commands, "DEMO_JOBS", 2)
    data = [] if "small" not in given else ["--data", str(benchmark(tmp_path / "data", 1))]
    assert main(["run", *given, *data, "--out", str(tmp_path / "run")]) == 130
    assert asked == [jobs]


def test_run_on_phantoms_says_who_won_and_where_the_report_is(tmp_path, capsys):
    assert main(["run", "--preset", "demo", "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "mean Dice" in printed
    assert str(tmp_path / "run" / "report" / "report.html") in printed


def test_run_with_unlabelled_scans_of_another_folder_then_predict(tmp_path, capsys):
    data = benchmark(tmp_path / "data")
    extra = benchmark(tmp_path / "extra", 2) / IMAGES
    images = sorted(extra.iterdir())
    (tmp_path / "hospital").mkdir()
    for index, path in enumerate(images):
        volume, grid = load_image(path)
        write_nifti(tmp_path / "hospital" / f"other_{index}.nii.gz", volume + 1, grid.affine)
    given = ["--benchmark", str(data), "--unlabelled", str(tmp_path / "hospital")]
    out = str(tmp_path / "run")
    assert main(["run", *given, "--out", out]) == 0
    text = (tmp_path / "run" / "report" / "report.html").read_text(encoding="utf-8")
    assert "no expert mask to compare with" in text
    entries = read_manifest(tmp_path / "run" / "prepare")
    assert sorted(e.name for e in entries if e.dataset == "unlabelled") == ["other_0", "other_1"]
    capsys.readouterr()
    command = ["predict", str(tmp_path / "hospital"), "--method", "rgs", "--out", out]
    assert main(command) == 0
    assert "2 masks" in capsys.readouterr().out
    masks = tmp_path / "run" / "predicted" / "rgs"
    assert {p.name for p in masks.glob("*.nii.gz")} == {"other_0.nii.gz", "other_1.nii.gz"}
    assert main([*command, "--flip-average"]) == 2
    assert "choose another with --masks" in capsys.readouterr().err
    assert main([*command, "--flip-average", "--masks", str(tmp_path / "m")]) == 0


def test_scans_in_the_layout_of_the_benchmark_are_found(tmp_path):
    data = benchmark(tmp_path / "data")
    assert main(["prepare", "--benchmark", str(data), "--out", str(tmp_path / "run")]) == 0
    entries = read_manifest(tmp_path / "run" / "prepare")
    assert len(entries) == 4
    assert all(e.image.startswith(str(data / IMAGES)) and e.has_mask for e in entries)
    assert all(e.role == "" for e in entries)


def test_a_csv_with_roles_of_its_own(tmp_path):
    data = benchmark(tmp_path / "data")
    rows = ["image,label,patient,source,role"]
    for role, path in zip(ROLES, sorted((data / IMAGES).iterdir()), strict=True):
        label = "" if role == "unlabelled" else f"Infection_Mask/{path.name}"
        rows.append(f"{IMAGES}/{path.name},{label},{role},here,{role}")
    (data / "scans.csv").write_text("\n".join(rows), encoding="utf-8")
    out = tmp_path / "run"
    assert main(["run", "--data", str(data / "scans.csv"), "--out", str(out)]) == 0
    metrics = read_csv(out / "report" / "metrics.csv")
    assert {(row["patient"], row["source"]) for row in metrics} == {("test", "here")}


def test_commands_run_their_stage_with_the_settings_kept(tmp_path, nothing_runs):
    out = ["--out", str(tmp_path)]
    assert main(["prepare", *out, "--teacher-steps", "9"]) == 0
    for stage in STAGES[1:]:
        assert main([stage, *out]) == 0
    assert [name for name, _ in nothing_runs] == list(STAGES)
    assert {config.teacher_steps for _, config in nothing_runs} == {9}
    assert json.loads((tmp_path / "config.json").read_text())["teacher_steps"] == 9
    del nothing_runs[:]
    assert main(["run", *out]) == 0
    assert [name for name, _ in nothing_runs] == ["report"]
    assert main(["run", *out, "--student-steps", "3"]) == 0
    assert [name for name, _ in nothing_runs[1:]] == list(STAGES[3:])


def test_benchmark_means_the_small_preset(tmp_path, nothing_runs, monkeypatch):
    monkeypatch.chdir(tmp_path)
    benchmark(tmp_path / "data")
    assert main(["prepare", "--benchmark", "data"]) == 0
    assert nothing_runs[0][1].preset == "small"
    assert nothing_runs[0][1].data == str(tmp_path / "data")
    assert (tmp_path / "runs" / "small" / "config.json").exists()


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        (["--student-start", "scratch"], "student_start", "scratch"),
        (["--seeds", "0,1,2"], "seeds", (0, 1, 2)),
        (["--methods", "rgs, equal,rgs"], "methods", ("rgs", "equal")),
        (["--flip-axes"], "flip_axes", ()),
        (["--teacher-once"], "teacher_once", True),
        (["--no-flip-average"], "flip_average", False),
        (["--channels", "4", "8", "16"], "channels", (4, 8, 16)),
        (["--window", "-100", "400"], "window", (-100.0, 400.0)),
        (["--shares", "4", "12", "0", "4"], "shares", (4.0, 12.0, 0.0, 4.0)),
    ],
)
def test_options_become_settings_and_are_kept(tmp_path, nothing_runs, option, name, value):
    assert main(["prepare", *option, "--out", str(tmp_path)]) == 0
    assert main(["teacher", "--out", str(tmp_path)]) == 0
    assert [getattr(config, name) for _, config in nothing_runs] == [value, value]


@pytest.mark.parametrize("command", NAMES)
def test_every_command_has_help(capsys, command):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: python -m examples.covid3d {command}" in printed
    assert "--out" in printed


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert all(command in printed for command in NAMES)


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["run", "--seeds", "a"], []])
def test_help_and_errors_of_the_command_line_import_nothing_that_takes_seconds(arguments):
    code = (
        "import sys; from examples.covid3d.commands.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "slow = {'torch', 'monai', 'numpy', 'nibabel', 'scipy', 'matplotlib', 'SimpleITK'}\n"
        "sys.exit(' '.join(sorted(slow & set(sys.modules))) or 0)"
    )
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_entry_names_a_function_that_there_is(command):
    module, function = command.work.split(":")
    assert callable(
        getattr(importlib.import_module(f"examples.covid3d.commands.{module}"), function)
    )


def test_the_names_that_the_command_line_offers_are_those_there_are():
    """They are written down a second time: to import those that have them takes seconds."""
    assert tuple(ROWS) == ROW_NAMES
    assert tuple(name for name, row in ROWS.items() if row.external) == EXTERNAL_ROWS
    assert tuple(sorted(READERS)) == KINDS


def test_ctrl_c_ends_with_one_line_that_says_how_to_resume(tmp_path, capsys, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "UNITS_OF", dict.fromkeys(STAGES, interrupt))
    assert main(["run", "--preset", "demo", "--out", str(tmp_path)]) == 130
    said = capsys.readouterr().err.strip()
    assert said == f"Interrupted. To resume: python -m examples.covid3d run --out {tmp_path}"
    monkeypatch.setattr(finished_run, "predict", lambda *_, **__: interrupt(None))
    monkeypatch.setattr(finished_run, "find_weights", lambda *_: [])
    monkeypatch.setattr(finished_run, "read_inputs", lambda *_: [])
    monkeypatch.setattr(finished_run, "seen_in_training", lambda *_: {})
    assert main(["predict", "x.nii", "--method", "rgs", "--out", str(tmp_path)]) == 130
    assert "Run the same command again" in capsys.readouterr().err


def test_ctrl_c_before_settings_are_kept_does_not_send_to_another_run(
    tmp_path, capsys, monkeypatch
):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "read_sources", interrupt)
    out = tmp_path / "a run"
    assert main(["run", "--preset", "demo", "--out", str(out)]) == 130
    said = "Interrupted. To resume: Run the same command again"
    assert capsys.readouterr().err.strip() == said


def test_the_command_that_resumes_an_audit_can_be_pasted(tmp_path, capsys, monkeypatch):
    def interrupt(out, *_, **__):
        keep(out, DEFAULTS)
        raise KeyboardInterrupt

    monkeypatch.setattr(audit_module, "configure", lambda *_: DEFAULTS)
    monkeypatch.setattr(audit_module, "audit", interrupt)
    out = tmp_path / "an audit"
    assert main(["audit", "--out", str(out), "--pictures", "3", "--redo"]) == 130
    said = f"examples.covid3d audit --out '{out}' --pictures 3 --redo"
    assert capsys.readouterr().err.strip().endswith(said)


def test_experiment_2_takes_the_teacher_of_a_run(tmp_path, finished):
    first = tmp_path / "first"
    shutil.copytree(finished[0], first)
    data = benchmark(tmp_path / "data", 4)
    given = ["--data", str(data), "--teacher-from", str(first), "--shares", "0", "1", "1", "1"]
    assert main(["run", *given, "--methods", "supervised,equal", "--out", str(tmp_path / "b")]) == 0
    assert not (tmp_path / "b" / "teacher").exists()
    rows = read_csv(tmp_path / "b" / "report" / "metrics.csv")
    assert {row["method"] for row in rows} == {"supervised", "equal"}


def test_a_folder_that_is_not_there_leaves_the_settings_of_a_run_alone(tmp_path, capsys):
    out = tmp_path / "run"
    out.mkdir()
    kept = json.dumps(to_json(PRESETS["small"]))
    (out / "config.json").write_text(kept, encoding="utf-8")
    assert main(["run", "--out", str(out), "--benchmark", str(tmp_path / "nowhere")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert (out / "config.json").read_text(encoding="utf-8") == kept


def test_what_other_packages_tell_in_passing_is_not_shown(capsys, tmp_path):
    main(["report", "--out", str(tmp_path / "nothing")])
    logging.getLogger("numexpr.utils").info("defaulting to 2 threads")
    logging.getLogger("examples.covid3d").info("said")
    assert capsys.readouterr().err.splitlines()[-1:] == ["said"]
    assert not logging.getLogger("numexpr.utils").isEnabledFor(logging.INFO)
