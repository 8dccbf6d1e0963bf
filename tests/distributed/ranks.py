"""Some processes of one gloo group, which run the functions they are sent."""

from __future__ import annotations

import multiprocessing
import time
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # seconds for one function; a rank that waits for the other for ever is killed


def _serve(rank: int, world: int, file: str, connection: Connection) -> None:
    import torch
    import torch.distributed as dist

    import reweight  # noqa: F401 - so that the first function need not wait for it

    torch.set_num_threads(1)
    warnings.filterwarnings("error", category=UserWarning, module="reweight")
    dist.init_process_group(
        "gloo",
        init_method=f"file://{file}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=PATIENCE),
    )
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        try:
            torch.manual_seed(1234)
            connection.send((True, function(*arguments)))
        except BaseException:
            connection.send((False, traceback.format_exc()))


class Ranks:
    """Some ranks, started when first needed, and anew after one of them has failed."""

    def __init__(self, folder: Path, world: int = 2) -> None:
        self.world = world
        self._folder = folder
        self._started = 0
        self._processes: list[Any] = []
        self._connections: list[Connection] = []

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Run `function`, of a module's top level, on all ranks and return what each returned."""
        if not self._processes:
            self._start()
        for connection in self._connections:
            connection.send((function, arguments))
        deadline = time.monotonic() + PATIENCE
        answers: dict[int, Any] = {}
        while len(answers) < self.world and time.monotonic() < deadline:
            for rank, connection in enumerate(self._connections):
                if rank not in answers and connection.poll(0.01):
                    try:
                        answers[rank] = connection.recv()
                    except EOFError:
                        answers[rank] = (False, "the process has ended")
            if not all(well for well, _ in answers.values()):
                deadline = min(deadline, time.monotonic() + 2.0)
        failures = [
            f"rank {rank}: {answers[rank][1] if rank in answers else 'no answer'}"
            for rank in range(self.world)
            if rank not in answers or not answers[rank][0]
        ]
        if failures:
            self.stop()
            raise AssertionError("\n".join(failures))
        return [answers[rank][1] for rank in range(self.world)]

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._started += 1
        file = str(self._folder / f"init{self._started}")
        for rank in range(self.world):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(rank, self.world, file, theirs), daemon=True
            )
            process.start()
            theirs.close()
            self._processes.append(process)
            self._connections.append(ours)

    def stop(self) -> None:
        """End the processes."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.kill()
            process.join()
        self._processes, self._connections = [], []
