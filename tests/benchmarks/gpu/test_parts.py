"""Cells, time, batches, waits, tests of the library, each by itself."""

from __future__ import annotations

import subprocess
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch._C._autograd import DeviceType

from benchmarks.gpu import card, library_tests, measure, waiting
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.cells import CORE, IMPORTANCE, OTHERS, SMALLEST, all_cells
from benchmarks.gpu.filling import Trial, fill
from benchmarks.gpu.library_tests import run_tests
from benchmarks.gpu.measure import Found, Plan
from benchmarks.gpu.progress import Bar
from benchmarks.meta_step.methods import METHODS
from benchmarks.meta_step.models import MODELS, Setup
from benchmarks.meta_step.problem import Cycle
from benchmarks.meta_step.summary import Measurement

TINY = Setup("mlp-small", 4, 2, 2)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


# Cells


def test_every_model_is_measured_in_both_precisions_small_and_full():
    cells = all_cells()
    assert set(IMPORTANCE) == set(MODELS) == set(SMALLEST)
    assert len(set(cells)) == len(cells)
    for model in MODELS:
        kinds = {(c.amp, c.batch, c.methods) for c in cells if c.model == model}
        for amp in (None, "bfloat16"):
            assert {(amp, MODELS[model].batch, CORE), (amp, None, CORE)} <= kinds
            assert (amp, MODELS[model].batch, OTHERS) in kinds
    volumes = {(c.size, c.batch, c.amp) for c in cells if c.model == "unet" and c.methods == CORE}
    assert volumes >= {
        (size, batch, amp) for size in (48, 96) for batch in (4, 16) for amp in (None, "bfloat16")
    }
    assert {c.compile for c in cells} == {True, False}
    assert all(set(c.methods) <= set(METHODS) and c.methods[0] == "plain" for c in cells)


def test_what_says_most_comes_first():
    cells = all_cells()
    assert [c.model for c in cells[: len(IMPORTANCE)]] == list(IMPORTANCE)
    assert all(c.methods == CORE and c.amp is None for c in cells[: len(IMPORTANCE)])
    assert all(c.compiles for c in cells[-8:])  # which cannot be stopped
    assert not any(c.compiles for c in cells[:-8])


def test_only_the_models_asked_for_are_measured():
    assert {c.model for c in all_cells(["vit", "mlp"], quick=True)} == {"vit", "mlp"}


# Time


def test_a_share_is_what_is_left_over_the_cells_left_and_never_too_little():
    clock = Clock()
    budget = Budget(100.0, 4.0, clock)
    assert budget.share(10).seconds == 10.0
    clock.now = 90.0
    assert budget.share(10).seconds == 4.0
    clock.now = 98.0
    assert budget.share(1).seconds == 2.0
    clock.now = 101.0
    assert budget.left() == 0.0
    assert not budget.share(1).goes_on(0)


def test_a_cell_without_three_rounds_may_take_longer_but_not_for_ever():
    clock = Clock()
    share = Budget(100.0, 4.0, clock).share(10)
    clock.now = 9.0
    assert share.goes_on(3)
    clock.now = 11.0
    assert not share.goes_on(3)
    assert share.goes_on(2)
    clock.now = 31.0
    assert not share.goes_on(2)


def test_a_part_of_a_share_counts_what_is_spent():
    clock = Clock()
    share = Budget(100.0, 4.0, clock).share(10)
    clock.now = 2.0
    part = share.part(0.5)
    clock.now = 4.9
    assert part.goes_on(3)
    clock.now = 5.1
    assert not part.goes_on(3)
    assert share.goes_on(3)


# The batch that fills


def linear(seconds=0.001, peak=100):
    return lambda batch: Trial(seconds * batch, peak * batch)


@pytest.mark.parametrize(
    ("limits", "batch", "why"),
    [
        ({"memory": 10_000}, 64, "128 would need about 0 GiB"),
        ({"longest": 0.1}, 64, "a step of 128 would take longer than 0.1 s"),
        ({"largest": 100}, 64, "no more than 100 samples are tried"),
    ],
)
def test_a_batch_is_doubled_until_something_ends_it(limits, batch, why):
    limits = {"memory": None, "longest": 10.0, "largest": 2**20, **limits}
    found = fill("gpt2", 2, linear(), **limits)
    assert (found.batch, found.why) == (batch, why)


def test_a_batch_that_fails_is_too_large():
    def trial(batch):
        if batch > 8:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return Trial(0.0, 0)

    found = fill("gpt2", 2, trial, memory=None, longest=1.0, largest=2**20)
    assert (found.batch, found.why) == (8, "16: out of memory")


def test_the_search_ends_with_the_time():
    left = iter([True, False])
    found = fill(
        *("gpt2", 2, linear()),
        memory=None,
        longest=9.0,
        largest=2**20,
        go_on=lambda: next(left),
    )
    assert (found.batch, found.why) == (4, "out of time")


# Waits


def test_the_union_of_spans():
    assert waiting.covered([]) == 0
    assert waiting.covered([(5, 6), (0, 2), (1, 3), (1, 2)]) == 4


def test_synchronisations_are_what_the_debug_mode_warns_of():
    modes = []

    def step():
        assert modes == ["warn"]
        for _ in range(3):
            warnings.warn("called a synchronizing CUDA operation (Triggered at x)", stacklevel=1)
        warnings.warn("something else", stacklevel=1)

    assert waiting.synchronisations(step, modes.append) == 3
    assert modes == ["warn", "default"]


def test_synchronisations_of_a_cycle_are_told_per_step_and_an_error_ends_the_mode():
    modes = []
    steps = iter(range(4))

    def some():
        if next(steps) < 2:
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)

    assert waiting.synchronisations(Cycle(some, 4), modes.append) == 0.5
    with pytest.raises(ZeroDivisionError):
        waiting.synchronisations(lambda: 1 / 0, modes.append)
    assert modes[-1] == "default"


def test_kernels_count_as_busy_and_the_ranges_around_them_do_not(monkeypatch):
    def event(name, start, end, kind=DeviceType.CUDA, **more):
        span = SimpleNamespace(start=start, end=end)
        return SimpleNamespace(name=name, time_range=span, device_type=kind, **more)

    class Profiler:
        def __init__(self, activities):
            assert len(activities) == 2

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def events(self):
            return [
                event("gemm", 0, 1e6),
                event("copy", 5e5, 2e6),
                event("training backward", 0, 9e6),
                event("mine", 0, 9e6, is_user_annotation=True),
                event("aten::mm", 0, 9e6, DeviceType.CPU),
            ]

    monkeypatch.setattr(waiting, "profile", Profiler)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    assert waiting.busy_seconds(lambda: None, torch.device("cuda")) == 2.0


def test_on_cuda_each_method_is_probed_and_what_fails_is_said(monkeypatch):
    monkeypatch.setattr(measure, "held_on_cuda", lambda _: 1)
    monkeypatch.setattr(measure, "cuda_peak_of", lambda step, before, _: step() or 2 + before)
    monkeypatch.setattr(measure, "synchronisations", lambda step: step() or 7)
    monkeypatch.setattr(measure, "busy_seconds", lambda step, _: step() or 0.5)
    found = Found(Measurement("", {}, ["plain"], seconds={"plain": [1.0, 2.0, 9.0]}))
    measure._probe_on_cuda("plain", TINY, found, torch.device("cuda"))
    assert (found.measured.peaks["plain"].tensors, found.syncs, found.busy) == (
        3,
        {"plain": 7},
        {"plain": 0.25},
    )

    def broken(_):
        raise RuntimeError("no such mode")

    monkeypatch.setattr(measure, "synchronisations", broken)
    measure._probe_on_cuda("plain", TINY, found, torch.device("cuda"))
    assert found.wait_errors == {"plain": "RuntimeError: no such mode"}


# One cell


def share(seconds=60.0):
    return Budget(seconds, seconds).share(1)


def test_a_cell_has_times_of_what_runs_reasons_for_the_rest_and_what_was_warned_of(monkeypatch):
    def broken(_):
        warnings.warn("look out\nhere", stacklevel=1)
        raise RuntimeError("no")

    monkeypatch.setitem(METHODS, "l2r", broken)
    found = measure.measure(TINY, ("plain", "l2r"), Plan(2, 1, memory=False), share())
    assert {name: len(seconds) for name, seconds in found.measured.seconds.items()} == {"plain": 2}
    assert found.measured.time_errors == {"l2r": "RuntimeError: no"}
    assert found.notes == ["look out"]
    assert not found.short
    assert Found.from_json(found.as_json()) == found


def test_a_model_that_cannot_be_built_is_the_reason_of_every_method():
    found = measure.measure(
        Setup("mlp-small", 4, 2, 2, amp="no"), ("plain", "l2r"), Plan(1, 1, memory=False), share()
    )
    assert set(found.measured.time_errors) == {"plain", "l2r"}
    assert not found.measured.seconds


def test_a_cell_without_time_is_short():
    found = measure.measure(TINY, ("plain", "l2r"), Plan(1, 1, memory=False), share(0.0))
    assert found.measured.time_errors == dict.fromkeys(("plain", "l2r"), "out of time")
    assert found.short


def test_a_device_that_answers_and_one_that_does_not():
    assert measure.device_answers(torch.device("cpu")) is None
    assert "Error" in measure.device_answers(torch.device("cuda:97"))
    assert measure.device_memory(torch.device("cpu")) is None


# The library's tests


def folder_of_tests(root, text):
    (root / "tests").mkdir()
    (root / "tests" / "test_it.py").write_text(text, encoding="utf-8")
    return root


def test_tests_are_counted_by_outcome_and_see_the_device(tmp_path):
    root = folder_of_tests(
        tmp_path,
        "import os\n"
        "def test_a(): assert os.environ['REWEIGHT_TEST_DEVICE'] == 'cpu'\n"
        "def test_b(): assert False\n",
    )
    tested = run_tests("cpu", 60.0, tmp_path / "said", ["tests", "not there"], root)
    assert tested.counts == {"passed": 1, "failed": 1}
    assert tested.failed == ["tests/test_it.py::test_b"]
    assert tested.complete
    assert "assert False" in (tmp_path / "said" / library_tests.LOG).read_text(encoding="utf-8")
    assert tested.words() == (
        "1 passed, 1 failed; all that were selected have run. Failed: `tests/test_it.py::test_b`."
    )


def test_of_tests_that_were_stopped_counts_what_ran():
    said = "tests/a.py::one PASSED [ 30%]\ntests/a.py::two[x y] FAILED [ 60%]\ntests/a.py::three "
    tested = library_tests._read("cuda", said, None, 90.0)
    assert tested.counts == {"passed": 1, "failed": 1}
    assert tested.failed == ["tests/a.py::two[x y]"]
    assert not tested.complete


def test_tests_of_several_processes_are_read_too():
    said = (
        "created: 2/2 workers\ntests/a.py::one \ntests/a.py::two[x y] \n"
        "[gw0] [ 50%] PASSED tests/a.py::one \n[gw1] [100%] FAILED tests/a.py::two[x y] \n"
        "FAILED tests/a.py::two[x y] - assert False\n"
    )
    tested = library_tests._read("cuda", said, 1, 90.0)
    assert tested.counts == {"passed": 1, "failed": 1}
    assert tested.failed == ["tests/a.py::two[x y]"]


def test_several_processes_only_where_the_device_is_no_cpu_and_they_can_be_had(monkeypatch):
    monkeypatch.setattr(library_tests, "find_spec", lambda _: object())
    monkeypatch.setattr(library_tests.os, "cpu_count", lambda: 8)
    assert library_tests._side_by_side("cuda:0") == ["-n", "6"]
    assert library_tests._side_by_side("cpu") == []
    monkeypatch.setattr(library_tests, "find_spec", lambda _: None)
    assert library_tests._side_by_side("cuda:0") == []


@pytest.mark.slow
def test_tests_that_take_too_long_are_stopped(tmp_path):
    root = folder_of_tests(
        tmp_path, "import time\ndef test_a(): pass\ndef test_b(): time.sleep(600)\n"
    )
    tested = run_tests("cpu", 12.0, tmp_path, ["tests"], root)
    assert tested.counts == {"passed": 1}
    assert not tested.complete
    assert "stopped after 12 s" in tested.words()


def test_tests_that_cannot_run_say_so(tmp_path, monkeypatch):
    assert "not in this copy" in run_tests("cpu", 9.0, tmp_path, ["tests"], tmp_path).words()
    root = folder_of_tests(tmp_path, "no python")
    said = run_tests("cpu", 60.0, tmp_path, ["tests"], root).words()
    assert said.startswith("1 error;")
    assert "Failed: `tests/test_it.py`" in said
    monkeypatch.setattr(library_tests, "NEEDED", ("no_such_package",))
    assert "no_such_package not installed" in run_tests("cpu", 9.0, tmp_path).words()


def test_the_tests_selected_are_there():
    for name in (*library_tests.SELECTED, *library_tests.QUICK):
        assert (library_tests.ROOT / name).exists()


# What it runs on


def test_the_driver_is_told_if_somebody_knows_it():
    assert card.driver(0, lambda *_, **__: "550.54.15, 700.00 W\n") == (
        "550.54.15, power limit 700.00 W"
    )
    assert card.driver(0, lambda *_, **__: "") == "not known"

    def missing(*_, **__):
        raise FileNotFoundError("nvidia-smi")

    def late(*_, **__):
        raise subprocess.TimeoutExpired("nvidia-smi", 20)

    assert card.driver(0, missing) == card.driver(0, late) == "not known"


def test_a_bar_is_written_over_on_a_terminal_and_a_line_a_step_elsewhere():
    class Stream:
        def __init__(self, terminal):
            self.text, self.isatty = "", lambda: terminal

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    for terminal in (True, False):
        stream = Stream(terminal)
        bar = Bar(4, stream)
        bar.show(2, 10.0, "a long one")
        bar.show(4, 20.0, "end")
        bar.close()
        assert "2/4   10 s  a long one" in stream.text
        assert stream.text.count("\r") == (2 if terminal else 0)
        assert stream.text.count("\n") == (1 if terminal else 2)
