import dataclasses
import json

import pytest

from examples.covid3d import cli, pipeline
from examples.covid3d.cli import main
from examples.covid3d.config import PRESETS, STAGES, to_json
from examples.covid3d.patients import ROLES
from examples.covid3d.phantoms.cohort import IMAGES, MASKS, plan_cohort, write_patient
from examples.covid3d.prepare import load_sources


@pytest.fixture(autouse=True)
def presets(monkeypatch, tiny):
    """Both presets made tiny."""
    demo = dataclasses.replace(tiny, teacher_steps=2, student_steps=2)
    small = dataclasses.replace(demo, preset="small")
    monkeypatch.setattr(cli, "PRESETS", {"demo": demo, "small": small})


@pytest.fixture
def nothing_runs(monkeypatch):
    """Stages that note their name and write nothing else."""
    ran = []

    def stage(name):
        return lambda context, _: ran.append((name, context.config))

    monkeypatch.setattr(pipeline, "_STAGES", {name: stage(name) for name in STAGES})
    monkeypatch.setattr(cli, "_print_result", lambda _: None)
    return ran


def benchmark(folder, patients=4):
    """Phantoms in the Benchmark's layout."""
    for index, patient in enumerate(plan_cohort((patients, 1, 1, 1))[:patients]):
        write_patient(folder, patient, index, seed=0, spacing=8.0)
    return folder


def test_run_on_phantoms_says_who_won_and_where_the_report_is(tmp_path, capsys):
    assert main(["run", "--preset", "demo", "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "mean Dice" in printed
    assert str(tmp_path / "run" / "report" / "report.html") in printed


def test_scans_of_a_folder_in_the_layout_of_the_benchmark_are_dealt_out(tmp_path):
    data = benchmark(tmp_path / "data")
    assert main(["prepare", "--benchmark", str(data), "--out", str(tmp_path / "run")]) == 0
    sources = load_sources(tmp_path / "run" / "prepare", *ROLES)
    assert sorted(source.role for source in sources) == sorted(ROLES)
    assert all(source.image.parent == data / IMAGES for source in sources)


def test_a_scan_in_both_folders_is_refused(tmp_path, capsys):
    data = benchmark(tmp_path / "data")
    options = ["--benchmark", str(data), "--unlabelled", str(data / IMAGES)]
    assert "expert_01" in error_of(capsys, "prepare", *options, "--out", str(tmp_path / "run"))


def test_a_run_can_be_moved(tmp_path):
    assert main(["prepare", "--preset", "demo", "--out", str(tmp_path / "a")]) == 0
    (tmp_path / "a").rename(tmp_path / "b")
    sources = load_sources(tmp_path / "b" / "prepare", *ROLES)
    assert sources
    assert all(source.image.exists() and source.mask.exists() for source in sources)


def test_run_with_unlabelled_scans_of_another_folder_that_have_no_mask(tmp_path):
    data = benchmark(tmp_path / "data")
    extra = benchmark(tmp_path / "extra", 2) / IMAGES
    for index, path in enumerate(sorted(extra.iterdir())):
        path.rename(extra / f"other_{index}.nii.gz")
    options = ["--benchmark", str(data), "--unlabelled", str(extra)]
    assert main(["run", *options, "--out", str(tmp_path / "run")]) == 0
    text = (tmp_path / "run" / "report" / "report.html").read_text()
    assert "no expert mask to compare with" in text


def test_commands_run_their_stage_with_the_settings_kept(tmp_path, nothing_runs):
    out = ["--out", str(tmp_path)]
    assert main(["prepare", *out, "--teacher-steps", "9"]) == 0
    for stage in STAGES[1:]:
        assert main([stage, *out]) == 0
    assert [name for name, _ in nothing_runs] == list(STAGES)
    assert {config.teacher_steps for _, config in nothing_runs} == {9}
    assert main(["run", *out]) == 0
    assert len(nothing_runs) == len(STAGES)
    assert main(["run", *out, "--student-steps", "3"]) == 0
    assert [name for name, _ in nothing_runs[len(STAGES) :]] == list(STAGES[3:])


def test_benchmark_means_the_small_preset(tmp_path, nothing_runs, monkeypatch):
    monkeypatch.chdir(tmp_path)
    benchmark(tmp_path / "data")
    assert main(["prepare", "--benchmark", "data"]) == 0
    assert nothing_runs[0][1].preset == "small"
    assert (tmp_path / "runs" / "small" / "config.json").exists()


def error_of(capsys, *arguments):
    status = main(list(arguments))
    captured = capsys.readouterr()
    assert status == 2
    assert "Traceback" not in captured.err
    assert captured.err.count("error:") == 1
    return captured.err


def test_a_stage_without_those_before_it(tmp_path, capsys):
    said = error_of(capsys, "student", "--out", str(tmp_path))
    assert "needs `prepare`" in said
    assert "python -m examples.covid3d prepare" in said


def test_a_missing_folder(tmp_path, capsys):
    said = error_of(
        capsys, "run", "--benchmark", str(tmp_path / "gone"), "--out", str(tmp_path / "run")
    )
    assert "no such folder" in said
    assert IMAGES in said


def test_a_scan_without_a_mask(tmp_path, capsys):
    data = benchmark(tmp_path / "data")
    lost = sorted((data / MASKS).iterdir())[0]
    lost.unlink()
    said = error_of(capsys, "run", "--benchmark", str(data), "--out", str(tmp_path / "run"))
    assert lost.name.removesuffix(".nii.gz") in said


def test_a_corrupt_scan_is_named(tmp_path, capsys):
    data = benchmark(tmp_path / "data")
    broken = sorted((data / IMAGES).iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:200])
    said = error_of(capsys, "run", "--benchmark", str(data), "--out", str(tmp_path / "run"))
    assert broken.name in said
    assert "To mend it" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--patch", "30", "32", "32"],
        ["run", "--teacher-steps", "0"],
        ["run", "--unlabelled", "somewhere"],
        ["run", "--device", "cuda:99"],
        ["run", "--device", "toaster"],
    ],
)
def test_options_that_cannot_work(tmp_path, capsys, arguments):
    assert "To mend it" in error_of(capsys, *arguments, "--out", str(tmp_path))


def test_an_unknown_method_lists_those_there_are(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["run", "--methods", "magic"])
    assert caught.value.code == 2
    assert "rgsm_al" in capsys.readouterr().err


def test_settings_that_cannot_be_read(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{")
    assert "config.json" in error_of(capsys, "run", "--out", str(tmp_path))


def test_ctrl_c_ends_with_one_line_that_says_how_to_resume(tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "_STAGES", dict.fromkeys(STAGES, interrupt))
    assert main(["run", "--preset", "demo", "--out", str(tmp_path)]) == 130
    said = capsys.readouterr().err.strip()
    assert said == f"Interrupted. To resume: python -m examples.covid3d run --out {tmp_path}"


@pytest.mark.parametrize("start", ["scratch", "teacher"])
def test_students_start_where_told(tmp_path, nothing_runs, start):
    assert main(["run", "--student-start", start, "--out", str(tmp_path)]) == 0
    assert {config.student_start for _, config in nothing_runs} == {start}


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert all(command in printed for command in ("run", *STAGES))


def test_a_folder_that_is_not_there_leaves_the_settings_of_a_run_alone(tmp_path, capsys):
    out = tmp_path / "run"
    out.mkdir()
    kept = json.dumps(to_json(PRESETS["small"]))
    (out / "config.json").write_text(kept, encoding="utf-8")
    assert main(["run", "--out", str(out), "--benchmark", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert (out / "config.json").read_text(encoding="utf-8") == kept
