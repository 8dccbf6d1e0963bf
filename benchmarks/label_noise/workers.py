"""Runs in several processes, in an order that makes partial results useful."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing.synchronize import Event
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.errors import UserError
from benchmarks.label_noise.cells import Cell, Run, cells, next_runs, runs_per_cell
from benchmarks.label_noise.dataset import Dataset, read_dataset
from benchmarks.label_noise.problem import make_problem
from benchmarks.label_noise.record import Record
from benchmarks.label_noise.settings import Plan, Settings
from benchmarks.label_noise.store import Store
from benchmarks.label_noise.teacher import Taught, with_teacher_labels
from benchmarks.label_noise.training import train
from support.parent import watch_the_parent


class StoppedError(Exception):
    """The command was interrupted."""


class Worker:
    """Makes runs in one process.

    Args:
        data: The data set.
        settings: What the runs share.
        stop: Set when runs under way are to end.
    """

    def __init__(self, data: Dataset, settings: Settings, stop: Event) -> None:
        self._data = data
        self._settings = settings
        self._stop = stop
        self._taught = lru_cache(maxsize=4)(self._teach)

    def make(self, run: Run) -> Record:
        """Train one network.

        Raises:
            StoppedError: If told to stop.
        """
        cell = run.cell
        if cell.noise == "teacher":
            assert cell.trusted is not None
            taught = self._taught(cell.trusted, run.seed)
            record = train(taught.problem, run, self._settings, self._check)
            record.teacher = taught.accuracy
            return record
        problem = make_problem(self._data, self._settings, cell.noise, cell.trusted, run.seed)
        return train(problem, run, self._settings, self._check)

    def _teach(self, trusted: int, seed: int) -> Taught:
        problem = make_problem(self._data, self._settings, "teacher", trusted, seed)
        return with_teacher_labels(problem, self._settings, seed)

    def _check(self) -> None:
        if self._stop.is_set():
            raise StoppedError


_worker: Worker | None = None


def _start(folder: Path, settings: Settings, stop: Event) -> None:
    global _worker
    watch_the_parent()
    torch.set_num_threads(1)
    _worker = Worker(read_dataset(folder), settings, stop)


def _make(run: Run) -> Record:
    assert _worker is not None
    return _worker.make(run)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C while a process is started, which then ignores it for good.

    The terminal sends it to every process; what to do about it is for the parent to say.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def next_run(
    ordered: list[Cell], plan: Plan, done: Mapping[Run, Record], running: set[Run]
) -> Run | None:
    """Return the first run, in the order of the cells, that can be started now."""
    validated = {run: record.validation[-1] for run, record in done.items()}
    for cell in ordered:
        for run in next_runs(cell, plan, validated):
            if run not in running:
                return run
    return None


def make_runs(folder: Path, settings: Settings, plan: Plan, jobs: int, store: Store) -> None:
    """Make the runs of a plan that the store lacks, and store each.

    Args:
        folder: Of the data.
        settings: What the runs share.
        plan: Which runs.
        jobs: How many processes; each has one thread.
        store: Where records are and go.

    Raises:
        KeyboardInterrupt: On Ctrl-C, after runs under way have ended; they are not stored.
        UserError: If a process was killed, or the data do not fit the plan.
    """
    done = store.read(settings)
    ordered = cells(plan)
    running: dict[Future[Record], Run] = {}
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    known = {run for run in done if run.cell in ordered}
    bar = tqdm(
        total=max(len(ordered) * runs_per_cell(plan), len(known)),
        initial=len(known),
        unit="run",
        smoothing=0.05,
    )
    pool = ProcessPoolExecutor(jobs, context, _start, (folder, settings, stop))
    try:
        while True:
            while len(running) < jobs:
                run = next_run(ordered, plan, done, set(running.values()))
                if run is None:
                    break
                with _interrupts_ignored():
                    running[pool.submit(_make, run)] = run
            if not running:
                return
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                record = future.result()
                store.write(record, settings)
                done[running.pop(future)] = record
                bar.update()
                bar.set_postfix_str(record.run.name, refresh=False)
    except BrokenProcessPool as error:
        raise UserError(
            f"--jobs {jobs}: a process ended unexpectedly, perhaps for want of memory. Give the "
            f"same command with fewer --jobs; it goes on where it was."
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        bar.close()
