"""The command ``audit``: its options, its errors, its exit codes."""

import dataclasses

import pytest

from examples.covid3d.audit import pipeline
from examples.covid3d.audit.settings import DEFAULTS, keep, kept
from examples.covid3d.commands import audit as command
from examples.covid3d.commands.cli import build_parser, main
from tests.covid3d.running import hide_masks, nnunet

TINY = (
    *("--channels", "4", "8", "--patch", "16", "16", "16", "--batch-size", "2"),
    *("--steps", "2", "--spacing", "2", "2", "3"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return nnunet(tmp_path_factory.mktemp("data") / "set", 6)


def run(*arguments):
    return main(["audit", *map(str, arguments)])


def test_it_says_what_is_doubtful_and_where_page_and_table_are(data, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("--data", data, "--out", out, "--trusted", 2, "--seed", 3, *TINY) == 0
    printed = capsys.readouterr().out
    assert "of 4 masks" in printed
    assert f"Page: {out / 'audit.html'}" in printed
    assert (out / "audit.csv").exists()
    assert kept(out).seeds == (3,)
    # Its settings are kept: nothing else need be said.
    assert run("--out", out) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no scan is trusted"),
        (["--trusted", "1"], "at least 2"),
        (["--trusted", "5"], "fewer"),
        (["--trusted", "600"], "fewer"),
        (["--trusted", "2", "--patch", "9", "9", "9"], "--patch"),
        (["--trusted", "2", "--device", "toaster"], "--device"),
        (["--trusted", "2", "--kind", "challenge"], "no scan"),
        (["--trusted", "2", "--spacing", "0", "1", "1"], "--spacing"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_written(
    data, tmp_path, capsys, arguments, said
):
    out = tmp_path / "out"
    assert run("--data", data, "--out", out, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "To mend it" in error
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("case00\ncase77\n", "called case77"),
        ("case00\ncase00\n", "more than once"),
        ("", "no names"),
    ],
)
def test_names_that_cannot_be_trusted_are_refused(data, tmp_path, capsys, content, said):
    names = tmp_path / "names.txt"
    names.write_text(content)
    assert run("--data", data, "--out", tmp_path / "out", "--trusted-scans", names) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--trusted", "2", "--trusted-scans", "x"],
        ["--trusted", "-2"],
        ["--trusted", "two"],
        ["--pictures", "-1"],
        ["--seed", "1.5"],
        ["--steps", "0"],
    ],
)
def test_arguments_that_do_not_parse(tmp_path, arguments):
    with pytest.raises(SystemExit) as caught:
        run("--out", tmp_path / "out", *arguments)
    assert caught.value.code == 2


def test_data_and_masks_are_needed(tmp_path, capsys):
    assert run("--out", tmp_path / "out", "--trusted", 2) == 2
    assert "--data" in capsys.readouterr().err
    bare = hide_masks(nnunet(tmp_path / "set", 2), "case00", "case01")
    assert run("--data", bare, "--out", tmp_path / "out", "--trusted", 2) == 2
    assert "none with a mask" in capsys.readouterr().err


def test_the_folder_of_a_run_and_one_within_the_data_are_refused(data, tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    assert run("--data", data, "--out", tmp_path, "--trusted", 2) == 2
    assert "the folder of a run" in capsys.readouterr().err
    assert run("--data", data, "--out", data / "out", "--trusted", 2) == 2
    assert "lies in the data" in capsys.readouterr().err


def test_a_run_does_not_begin_in_the_folder_of_an_audit(data, tmp_path, capsys):
    keep(tmp_path, DEFAULTS)
    assert main(["run", "--data", str(data), "--out", str(tmp_path)]) == 2
    assert "the folder of an audit" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(data, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "learn", interrupted)
    out = tmp_path / "out"
    assert run("--data", data, "--out", out, "--trusted", 2, *TINY) == 130
    assert f"To resume: python -m examples.covid3d audit --out {out}" in capsys.readouterr().err
    monkeypatch.undo()
    assert run("--out", out) == 0


def test_spacing_and_patch_fit_the_scans_once_and_then_stay(data, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(command, "audit", lambda *given, **_: seen.append(given[1]) or 1 / 0)
    out = tmp_path / "out"
    with pytest.raises(ZeroDivisionError):
        run("--data", data, "--out", out, "--trusted", 2)
    assert (seen[0].spacing, seen[0].patch) == ((2.0, 2.0, 3.0), (24, 24, 16))
    chosen = dataclasses.replace(seen[0], spacing=(4.0, 4.0, 4.0), patch=(16, 16, 16))
    keep(out, chosen)
    with pytest.raises(ZeroDivisionError):
        run("--out", out)
    assert seen[1] == chosen
    other = nnunet(tmp_path / "other", 6, shape=(40, 18, 16))
    with pytest.raises(ZeroDivisionError):
        run("--data", other, "--out", out)
    assert (seen[2].spacing, seen[2].patch) == ((2.0, 2.0, 3.0), (40, 24, 16))


def test_help_tells_the_number_of_steps_that_is_the_default(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    assert f"(default: {DEFAULTS.student_steps})" in capsys.readouterr().out


def test_the_name_by_which_a_refusal_calls_the_number_of_steps_is_an_option():
    parsed = build_parser().parse_args(["audit", "--data", "d", "--student-steps", "7"])
    assert parsed.steps == 7
