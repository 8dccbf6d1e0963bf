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
from benchmarks.sets.problem import Problem
from benchmarks.sets.setting import DataSet
from benchmarks.sets.sources import SOURCES
from benchmarks.trials.cells import Run, cells, next_runs, runs_per_cell, stops_of
from benchmarks.trials.making import make
from benchmarks.trials.plans import Plan
from benchmarks.trials.record import Record
from benchmarks.trials.store import Store
from support.parent import watch_the_parent

Folders = Mapping[str, Path]
"""Where each data set is, by the name of its source."""


class StoppedError(Exception):
    """The command was interrupted."""


class Worker:
    """Makes runs in one process; a data set is read when it is first needed.

    Args:
        folders: Of the data.
        plan: What the runs are of.
        stop: Set when runs under way are to end.
    """

    def __init__(self, folders: Folders, plan: Plan, stop: Event) -> None:
        self._folders = folders
        self._settings = {task.name: task.setting for task in plan}
        self._stop = stop
        self._read = lru_cache(maxsize=2)(self._read_source)
        self._problem = lru_cache(maxsize=6)(self._make_problem)

    def make(self, run: Run) -> Record:
        """Train one network, or as many as the row has.

        Raises:
            StoppedError: If told to stop.
        """
        setting = self._settings[run.cell.task]
        problem = self._problem(run.cell.task, run.cell.trusted or 0, run.seed)
        return make(problem, run, setting, self._check)

    def _read_source(self, source: str) -> DataSet:
        return SOURCES[source].read(self._folders[source])

    def _make_problem(self, task: str, trusted: int, seed: int) -> Problem:
        setting = self._settings[task]
        return self._read(setting.source).problem(setting, trusted, seed)

    def _check(self) -> None:
        if self._stop.is_set():
            raise StoppedError


_worker: Worker | None = None


def one_thread() -> None:
    """Compute as every process that trains does: in one thread, tiny numbers taken as 0."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # a memorising network is full of them, and slow


def _start(folders: Folders, plan: Plan, stop: Event) -> None:
    global _worker
    watch_the_parent()
    one_thread()
    _worker = Worker(folders, plan, stop)


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


def next_run(plan: Plan, done: Mapping[Run, Record], running: set[Run]) -> Run | None:
    """Return the first run, in the order of the plan, that can be started now."""
    validated = {run: record.validated for run, record in done.items()}
    for task, cell in cells(plan):
        for run in next_runs(cell, task, validated):
            if run not in running:
                return run
    return None


def _to_make(plan: Plan, done: Mapping[Run, Record]) -> int:
    """Return how many runs are missing, as far as can be told."""
    validated = {run: record.validated for run, record in done.items()}
    missing = 0
    for task, cell in cells(plan):
        known = sum(run.cell == cell for run in done)
        expected = runs_per_cell(task) + (task.seeds - len(task.tuning_seeds)) * (
            len(stops_of(cell)) - 1
        )
        if next_runs(cell, task, validated):
            missing += max(1, expected - known)
    return missing


def make_runs(folders: Folders, plan: Plan, jobs: int, store: Store) -> None:
    """Make the runs of a plan that the store lacks, and store each.

    Args:
        folders: Of the data.
        plan: Which runs.
        jobs: How many processes; each has one thread.
        store: Where records are and go.

    Raises:
        KeyboardInterrupt: On Ctrl-C, after runs under way have ended; they are not stored.
        UserError: If a process was killed, or the data do not fit the plan.
    """
    done = store.read(plan)
    settings = {task.name: task.setting for task in plan}
    running: dict[Future[Record], Run] = {}
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    bar = tqdm(total=len(done) + _to_make(plan, done), initial=len(done), unit="run")
    pool = ProcessPoolExecutor(jobs, context, _start, (folders, plan, stop))
    try:
        while True:
            while len(running) < jobs:
                run = next_run(plan, done, set(running.values()))
                if run is None:
                    break
                with _interrupts_ignored():
                    running[pool.submit(_make, run)] = run
            if not running:
                return
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                record = future.result()
                store.write(record, settings[record.run.cell.task])
                done[running.pop(future)] = record
                bar.set_postfix_str(record.run.name, refresh=False)
            bar.total = len(done) + max(_to_make(plan, done), len(running))
            bar.update(len(done) - bar.n)
    except BrokenProcessPool as error:
        raise UserError(
            f"--jobs {jobs}: a process ended unexpectedly, perhaps for want of memory. Give the "
            f"same command with fewer --jobs; it goes on where it was."
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        bar.close()
