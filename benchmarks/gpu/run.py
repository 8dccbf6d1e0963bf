"""A whole run: cells in order, within the time, each result written when it is there."""

from __future__ import annotations

import gc
import sys
from functools import partial

import torch

from benchmarks.files import write_figure, write_text
from benchmarks.gpu import plot, report
from benchmarks.gpu.budget import Budget, Share
from benchmarks.gpu.cells import Cell
from benchmarks.gpu.filling import Filling, fill, trials
from benchmarks.gpu.library_tests import QUICK, SELECTED, run_tests
from benchmarks.gpu.measure import Found, device_answers, device_memory, measure, not_reached
from benchmarks.gpu.options import Options
from benchmarks.gpu.progress import Bar
from benchmarks.gpu.record import Record
from benchmarks.meta_step.failure import attempt, release_memory
from benchmarks.meta_step.methods import METHODS
from benchmarks.meta_step.models import build_problem
from benchmarks.meta_step.timing import OUT_OF_TIME

PAGE = "report.md"


class DeviceLostError(Exception):
    """The device answers no more."""


class Run:
    """One run of the benchmark.

    Args:
        options: What to measure.
        record: What an earlier run has left; it is added to, and written.
    """

    def __init__(self, options: Options, record: Record) -> None:
        self._options = options
        self._record = record
        self._cells = options.cells
        self._budget = Budget(options.budget, options.least)

    def all(self) -> int:
        """Measure everything that is missing.

        Returns:
            Exit status: 0, or 1 if nothing could be measured or the device gave up.
        """
        gc.collect()
        gc.freeze()  # else each collection looks through all that was imported, for 0.3 s
        try:
            self._tests()
            self._measure()
        except DeviceLostError as error:
            print(f"\nerror: the device answers no more: {error}", file=sys.stderr)
            print("The same command goes on with what is left.", file=sys.stderr)
            return 1
        finally:
            gc.unfreeze()
            self._write()
            for stage in report.lines_by_stage(self._record):
                self._draw(stage)
        print(f"\n{self._options.output / PAGE}")
        if self._missing():
            print(f"{len(self._missing())} cells are left; the same command goes on with them.")
        measured = any(found.measured.seconds for _, found in self._record.cells)
        return 0 if measured else 1

    def _missing(self) -> list[Cell]:
        """Return what is to be measured yet, or once more since the time was short."""
        known = dict(self._record.cells)
        return [cell for cell in self._cells if cell not in known or known[cell].short]

    def _tests(self) -> None:
        tested = self._record.tested
        if not self._options.tests or (tested is not None and tested.complete):
            return
        print(f"tests of the library on {self._options.device} …", file=sys.stderr, flush=True)
        self._record.tested = run_tests(
            self._options.device,
            self._options.for_tests,
            self._options.output,
            QUICK if self._options.quick else SELECTED,
        )
        print(self._record.tested.words(), file=sys.stderr)
        self._write()

    def _measure(self) -> None:
        missing = self._missing()
        known = len(self._cells) - len(missing)
        bar = Bar(len(self._cells))
        if missing:
            bar.show(known, self._budget.spent(), "imports, and the device's first kernels")
            self._warm_up(missing[0])
        stage = missing[0].stage if missing else ""
        for number, cell in enumerate(missing):
            if self._budget.left() <= 0:
                break
            if cell.compiles and self._budget.left() < self._options.for_compiling:
                continue
            if cell.stage != stage:
                self._draw(stage)
                stage = cell.stage
            bar.show(known + number, self._budget.spent(), f"{cell.stage}: {cell.words}")
            self._record.add(cell, self._found(cell, len(missing) - number))
            if cell.compiles:
                torch.compiler.reset()  # the library follows no pass while anything is compiled
            self._write()
            lost = device_answers(self._options.torch_device)
            if lost is not None:
                raise DeviceLostError(lost)
        bar.show(len(self._cells) - len(self._missing()), self._budget.spent(), "")
        bar.close()

    def _warm_up(self, cell: Cell) -> None:
        """Have what every process pays once paid by no cell."""
        setup = cell.setup(self._options.first_batch(cell.model), self._options.device)
        attempt(lambda: METHODS["plain"](build_problem(setup))())
        release_memory()

    def _found(self, cell: Cell, left: int) -> Found:
        share = self._budget.share(left)
        batch = cell.batch
        if batch is None:
            filling = self._filling(cell, share)
            if filling.why == OUT_OF_TIME:
                return not_reached(cell.setup(filling.batch, self._options.device), cell.methods)
            batch = filling.batch
        setup = cell.setup(batch, self._options.device)
        return measure(setup, cell.methods, self._options.plan, share)

    def _filling(self, cell: Cell, share: Share) -> Filling:
        """Return what fills the device, found once per model, in float32."""
        found = self._record.fillings.get(cell.model)
        if found is None:
            device = self._options.torch_device
            setup = partial(Cell.setup, cell, device=self._options.device)
            found = fill(
                cell.model,
                self._options.first_batch(cell.model),
                trials(setup, device),
                memory=device_memory(device),
                longest=self._options.longest_step,
                largest=self._options.largest_batch,
                go_on=partial(share.goes_on, 0),
            )
            if found.why != OUT_OF_TIME:
                self._record.fillings[cell.model] = found
        return found

    def _write(self) -> None:
        missing = self._missing()
        self._record.complete = not missing
        self._record.write(self._options.output)
        write_text(self._options.output / PAGE, report.markdown(self._record, missing))

    def _draw(self, stage: str) -> None:
        lines = report.lines_by_stage(self._record).get(stage)
        if lines:
            drawn = plot.figure(stage, lines, self._record.same["machine"]["device"])
            write_figure(self._options.output / plot.file_name(stage), drawn)
