"""One process at a time in a run folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from examples.covid3d.common.errors import UserError
from examples.covid3d.run import pipeline
from examples.covid3d.run.lock import locked
from examples.covid3d.run.pipeline import run_stages

ROOT = Path(__file__).resolve().parents[3]


def test_a_second_one_is_refused_and_let_in_when_the_first_is_done(tmp_path):
    with locked(tmp_path / "run"):
        with pytest.raises(UserError, match="another process is at work"), locked(tmp_path / "run"):
            pass
        with locked(tmp_path / "other"):
            pass
    with locked(tmp_path / "run"):
        pass


def test_another_process_is_refused_too(tmp_path):
    code = (
        "import sys; from pathlib import Path; from examples.covid3d.run.lock import locked\n"
        "with locked(Path(sys.argv[1])): pass"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with locked(tmp_path):
        held = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert held.returncode == 1
    assert "another process is at work" in held.stderr
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0


def test_is_let_go_of_after_an_error(tmp_path):
    def fail():
        with locked(tmp_path):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with locked(tmp_path):
        pass


def test_a_run_holds_its_folder_and_changes_nothing_in_one_that_is_held(
    tmp_path, tiny, monkeypatch
):
    seen = []

    def second(*_):
        with pytest.raises(UserError, match="another process"):
            run_stages(tmp_path, tiny, [])
        seen.append(1)

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "_run", second)
        run_stages(tmp_path, tiny, [])
    assert seen == [1]
    kept = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text("{}")
    with locked(tmp_path), pytest.raises(UserError, match="another process"):
        run_stages(tmp_path, tiny, [])
    assert (tmp_path / "config.json").read_text() == "{}" != kept
