"""A record of a run that never was."""

from __future__ import annotations

from benchmarks.gpu.cells import CORE, OTHERS, Cell
from benchmarks.gpu.filling import Filling
from benchmarks.gpu.library_tests import Tested
from benchmarks.gpu.measure import Found
from benchmarks.gpu.record import Record
from benchmarks.meta_step.memory import Peak
from benchmarks.meta_step.summary import Measurement

SMALL = Cell("float32, small batches", "gpt2", 64, 8, CORE)
REST = Cell("float32, small batches", "gpt2", 64, 8, OTHERS)
FULL = Cell("float32, batches that fill", "gpt2", 64, None, CORE)


def found(cell: Cell, batch: int, **more) -> Found:
    seconds = {
        "plain": [0.010, 0.020, 0.010],
        "floor": [0.020, 0.040, 0.018],
        "default": [0.030, 0.050, 0.029],
    }
    if cell is REST:
        seconds = {"plain": [0.001, 0.001], "floor": [0.003, 0.003], "higher": [0.006, 0.005]}
    measured = Measurement(
        "GPT-2",
        cell.setup(batch, "cuda").as_json(),
        list(cell.methods),
        seconds=seconds,
        peaks={"plain": Peak(10, None), "default": Peak(15, None)},
        time_errors={
            "layer-products": "not available: no such | method",
            "l2r": "out of memory",
            **more.pop("time_errors", {}),
        },
    )
    return Found(
        measured,
        syncs={"plain": 0.0, "default": 9.0},
        busy={"plain": 0.75, "default": 0.5},
        seconds=3.0,
        **more,
    )


def record() -> Record:
    made = Record(
        {"settings": {"quick": False}, "machine": {"device": "a card", "torch": "2"}},
        "python -m benchmarks.gpu",
    )
    made.tested = Tested("cuda", {"passed": 3, "failed": 1}, ["tests/a.py::b"], "all have run")
    made.fillings["gpt2"] = Filling("gpt2", 512, "1024 would need about 90 GiB")
    made.add(SMALL, found(SMALL, 8, notes=["a way was left for another"]))
    made.add(REST, found(REST, 8))
    made.add(FULL, found(FULL, 512, time_errors={"similarity": "out of time"}))
    return made
