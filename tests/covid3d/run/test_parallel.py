"""Several processes: the same results, an error that arrives, and no noise."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from examples.covid3d.common.errors import UserError
from examples.covid3d.run.parallel import in_parallel
from examples.covid3d.run.pipeline import run_stages
from tests.covid3d.parallel_work import fail, note
from tests.covid3d.running import LOGS, nnunet, same, small, weights_in


@pytest.fixture
def one_thread():
    """A process has as many threads with two at a time as with one: sums round alike."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_two_at_a_time_give_the_same_bits_as_one(tmp_path, capfd, caplog):
    caplog.set_level("INFO")
    methods = ("equal", "rgsm-al", "semi-supervised")
    config = small(data=str(nnunet(tmp_path / "data", 7)), methods=methods, student_steps=3)
    run_stages(tmp_path / "one", config, ["prepare", "teacher", "pseudo-label"])
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    run_stages(tmp_path / "one", config, ["student"])
    capfd.readouterr()
    caplog.clear()
    run = run_stages(tmp_path / "two", config, ["student"], jobs=2)
    # One bar, that of the caller.
    assert " equal:" not in capfd.readouterr().err
    assert [text.split(":")[0] for text in sorted(caplog.messages)] == [
        f"student/seed0-fold1/{method}" for method in methods
    ]
    for method in methods:
        assert run.is_complete("student", "seed0-fold1", method)
        one, two = (tmp_path / name / "student" / "seed0-fold1" / method for name in ("one", "two"))
        assert same(weights_in(one), weights_in(two))
        assert all((one / name).read_bytes() == (two / name).read_bytes() for name in LOGS)


def tasks(tmp_path, *names, seconds=0.0):
    return [(tmp_path, name, seconds) for name in names]


def test_each_has_its_share_of_the_threads_and_no_bar(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    done = []
    in_parallel(note, tasks(tmp_path, "a", "b", "c"), 2, "title", done.append)
    assert sorted(done) == [0, 1, 2]
    for name in "abc":
        pid, *told = (tmp_path / name).read_text().split()
        assert int(pid) != os.getpid()
        assert told == ["1", "4", "4"]
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "TQDM_DISABLE" not in os.environ


def test_an_error_arrives_when_those_under_way_have_ended(tmp_path):
    done = []
    names = ["bad", *(f"n{i}" for i in range(12))]
    with pytest.raises(UserError, match="a bad one") as caught:
        in_parallel(fail, tasks(tmp_path, *names, seconds=0.2), 2, "title", done.append)
    assert "To mend it: drop it" in str(caught.value)
    made = {path.name for path in tmp_path.iterdir()}
    assert "n0" in made
    assert "n11" not in made
    assert 0 not in done


def test_more_threads_than_there_are_is_one_each(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    in_parallel(note, tasks(tmp_path, "a"), 5, "title", lambda _: None)
    assert (tmp_path / "a").read_text().split()[1:] == ["1", "1", "1"]


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="POSIX signals")
def test_processes_end_with_a_parent_that_is_killed(tmp_path):
    code = (
        "from pathlib import Path\n"
        "from examples.covid3d.run.parallel import in_parallel\n"
        "from tests.covid3d.parallel_work import announce\n"
        "if __name__ == '__main__':\n"
        f"    in_parallel(announce, [(Path({str(tmp_path)!r}), n) for n in 'ab'], 2, 't', print)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment)
    until(lambda: all((tmp_path / name).exists() for name in "ab"), 60)
    workers = [int((tmp_path / name).read_text(encoding="utf-8")) for name in "ab"]
    assert all(alive(worker) for worker in workers)
    parent.kill()
    parent.wait()
    until(lambda: not any(alive(worker) for worker in workers), 20)


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    # One whose adoptive parent does not collect it stays, dead, in the table.
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)
