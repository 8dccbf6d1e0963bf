"""A disk that fails once, at any moment of a run: nothing is lost, half or skipped."""

import builtins
import contextlib
import errno
import io
import os

import pytest

from examples.covid3d.common.config import STAGES
from examples.covid3d.run.pipeline import run_stages
from examples.covid3d.scans import prepare
from examples.covid3d.scans.manifest import read_manifest
from tests.covid3d.running import nnunet, same, small, weights_in

MOMENTS = int(os.environ.get("MOMENTS", "8"))
"""How many of the some hundred files that a run opens, evenly spread, fail to open."""


class Disk:
    """Counts the files that are opened below a folder, and fails to open one of them."""

    def __init__(self, monkeypatch, folder, fail_at=None):
        self.opened = []
        real = io.open

        def counting(file, *args, **kwargs):
            if str(file).startswith(str(folder)) and not str(file).endswith(".lock"):
                self.opened.append(str(file))
                if len(self.opened) == fail_at:
                    raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))
            return real(file, *args, **kwargs)

        monkeypatch.setattr(builtins, "open", counting)
        monkeypatch.setattr(io, "open", counting)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing went wrong in, its settings, and how many files it opened."""
    folder = tmp_path_factory.mktemp("whole")
    config = small(data=str(nnunet(folder / "data", 6)), shares=(1, 1, 1, 3), max_rejected=0.0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(prepare, "_MOST_THREADS", 1)
        disk = Disk(patched, folder)
        run = run_stages(folder / "run", config, STAGES[:-1])
    return run, config, len(disk.opened)


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_it_stops_with_the_reason_or_goes_on_and_ends_with_the_same_bits(
    whole, tmp_path, monkeypatch, moment
):
    expected, config, count = whole
    monkeypatch.setattr(prepare, "_MOST_THREADS", 1)
    config = small(data=str(nnunet(tmp_path / "data", 6)), shares=(1, 1, 1, 3), max_rejected=0.0)
    at = 1 + moment * (count - 1) // max(1, MOMENTS - 1)
    with monkeypatch.context() as patched:
        disk = Disk(patched, tmp_path, fail_at=at)
        # What was opened may not have been needed: a batch after the last, a glance at a type.
        with contextlib.suppress(OSError):
            run_stages(tmp_path / "run", config, STAGES[:-1])
    assert len(disk.opened) >= at
    run = run_stages(tmp_path / "run", config, STAGES[:-1])
    assert len(read_manifest(run.folder("prepare"))) == 6
    for stage, *unit in (("teacher", "seed0-fold1"), ("student", "seed0-fold1", "equal")):
        assert same(weights_in(run.folder(stage, *unit)), weights_in(expected.folder(stage, *unit)))
    assert run.is_complete("evaluate", "seed0-fold1", "equal")
    assert not list(run.path.rglob(".partial*"))
