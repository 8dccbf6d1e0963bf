"""Series end, with a note, where memory does."""

from __future__ import annotations

import pytest
import torch

from benchmarks.meta_step.methods import METHODS
from benchmarks.scaling.axes import AXES, width_for
from benchmarks.scaling.room import Room, available_kib
from benchmarks.scaling.sweep import Point, Sweep

CPU = torch.device("cpu")


def sweep(axis="mlp-depth", device=CPU, **options):
    return Sweep(axis, AXES[axis], device, rounds=2, seed=0, **options)


@pytest.mark.parametrize("name", AXES)
def test_an_axis_builds_a_problem_of_its_value(name):
    value = AXES[name].values[0]
    problem = AXES[name].build(value, CPU, 0)
    assert problem.losses(problem.model, problem.noisy).shape == (len(problem.noisy[0]),)
    parameters = sum(p.numel() for p in problem.module.parameters())
    sizes = {
        "noisy-batch": len(problem.noisy[0]),
        "trusted-batch": len(problem.trusted[0]),
        "parameters": round(parameters, -4),
        "mlp-depth": sum(isinstance(m, torch.nn.ReLU) for m in problem.module.modules()),
        "transformer-depth": sum(isinstance(m, torch.nn.GELU) for m in problem.module.modules()),
    }
    assert sizes[name] == value
    assert list(AXES[name].values) == sorted(AXES[name].values)


@pytest.mark.parametrize("parameters", [1_000_000, 30_000_000])
def test_a_width_gives_about_so_many_parameters(parameters):
    w = width_for(parameters)
    assert 2 * w * w + (784 + 10 + 3) * w + 10 == pytest.approx(parameters, rel=0.01)


def test_a_point_has_a_time_for_each_round_and_method():
    point = sweep().point(2, ["plain", "l2r"])
    assert {name: len(seconds) for name, seconds in point.seconds.items()} == {
        "plain": 2,
        "l2r": 2,
    }
    assert not point.notes


def test_a_method_that_is_not_expected_to_fit_is_not_run():
    room = Room(available=lambda: 1000.0)
    room.remember("l2r", 2, 500.0)
    room.remember("plain", 2, 390.0)
    point = sweep(room=room).point(4, ["plain", "l2r"])
    assert list(point.seconds) == ["plain"]
    assert point.notes["l2r"].startswith("not run: about 0.0 GiB expected")


def test_a_problem_that_is_not_expected_to_fit_ends_every_series():
    room = Room(available=lambda: 2.0**20)
    room.remember("the problem itself", 2, 2.0**20)
    point = sweep(room=room).point(8, ["plain", "l2r"])
    assert not point.seconds
    assert point.notes == dict.fromkeys(
        ["plain", "l2r"], "not run: about 4.0 GiB expected, 1.0 GiB free"
    )


def test_memory_is_foreseen_in_proportion_with_a_margin():
    room = Room(available=lambda: 1000.0)
    assert room.shortage("new", 100) is None
    room.remember("a", 10, 79.0)
    assert room.shortage("a", 100) is None
    assert room.shortage("a", 102) is not None
    assert Room(available=lambda: None).shortage("a", 10**9) is None


def test_what_was_measured_is_remembered_and_recalled():
    first = sweep()
    point = first.point(2, ["plain"])
    if not point.needed_kib:
        pytest.skip("resident memory cannot be read here")
    room = Room(available=lambda: 1.0)
    again = sweep(room=room)
    again.recall(Point("mlp-depth", 2, needed_kib={"plain": 100.0}))
    assert "plain" in again.point(4, ["plain"]).notes


def test_out_of_memory_on_a_gpu_is_a_note_and_memory_is_not_foreseen(monkeypatch):
    def full(_):
        def step():
            raise torch.OutOfMemoryError("CUDA out of memory.")

        return step

    class Clock:
        def seconds(self, step):
            step()
            return 1.0

    monkeypatch.setitem(METHODS, "l2r", full)
    room = Room(available=lambda: 0.0)
    room.remember("plain", 1, 1e9)
    cuda = sweep(device=torch.device("cuda"), room=room, clock=Clock())
    monkeypatch.setattr(cuda, "_axis", _on_the_cpu(AXES["mlp-depth"]))
    point = cuda.point(2, ["plain", "l2r"])
    assert point.seconds == {"plain": [1.0, 1.0]}
    assert point.notes == {"l2r": "out of memory"}


def _on_the_cpu(axis):
    return type(axis)(
        axis.label, axis.held, axis.values, lambda value, _, seed: axis.build(value, CPU, seed)
    )


def test_available_memory_is_read_from_the_system(tmp_path):
    meminfo = tmp_path / "meminfo"
    assert available_kib(meminfo) is None
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:   123 kB\n", encoding="utf-8")
    assert available_kib(meminfo) == 123.0
    meminfo.write_text("MemTotal: 9 kB\n", encoding="utf-8")
    assert available_kib(meminfo) is None


def test_a_method_that_fails_half_way_leaves_no_gradients_to_the_next(monkeypatch):
    seen = []

    def half_way(problem):
        def step():
            problem.losses(problem.model, problem.noisy).sum().backward()
            raise RuntimeError("no more")

        return step

    def looks(problem):
        return lambda: seen.append([p.grad for p in problem.module.parameters()])

    monkeypatch.setitem(METHODS, "floor", half_way)
    monkeypatch.setitem(METHODS, "l2r", looks)
    point = sweep().point(2, ["floor", "l2r"])
    assert point.notes == {"floor": "RuntimeError: no more"}
    assert all(gradient is None for gradients in seen for gradient in gradients)
