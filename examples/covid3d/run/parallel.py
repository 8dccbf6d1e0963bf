"""Several processes, each at work on a unit of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import torch
from tqdm import tqdm

from examples.covid3d.common.errors import problem
from support.parent import watch_the_parent


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets variables that new processes inherit."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def in_parallel(
    work: Callable[..., None],
    tasks: Sequence[tuple[Any, ...]],
    jobs: int,
    title: str,
    done: Callable[[int], None],
) -> None:
    """Runs ``work(*task)`` for every task, each in a process with its share of the threads.

    On the CPU, small networks gain little from a second thread, and much from a second process.

    Args:
        work: A function at module level.
        tasks: Its arguments; they are pickled.
        jobs: How many processes.
        title: Shown in the progress bar.
        done: Called with a task's number when it is done.

    Raises:
        UserError: If a process was killed.
        Exception: What the first task to fail raised, when those under way have ended.
    """
    threads = str(max(1, torch.get_num_threads() // jobs))
    quiet = {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    context = multiprocessing.get_context("spawn")
    bar = tqdm(total=len(tasks), desc=title, unit="unit")
    workers = ProcessPoolExecutor(min(jobs, len(tasks)), context, watch_the_parent)
    with bar, _environment(quiet), workers as pool:
        numbers = {pool.submit(work, *task): number for number, task in enumerate(tasks)}
        try:
            for future in as_completed(numbers):
                future.result()
                bar.update()
                done(numbers[future])
        except BrokenProcessPool as error:
            raise problem(
                f"--jobs {jobs}",
                "a process was killed, perhaps for want of memory",
                "memory for each of them",
                "run the same command again with fewer --jobs; it goes on where it was",
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
