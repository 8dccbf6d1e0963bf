"""Peak memory of one method in a process of its own.

``python -m benchmarks.meta_step.memory_process`` reads a request as JSON from standard input and
answers in JSON; :func:`peak_in_own_process` is the other end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from benchmarks.meta_step.failure import OUT_OF_MEMORY, Failure, attempt
from benchmarks.meta_step.memory import ALLOCATOR, Peak, peak_of
from benchmarks.meta_step.methods import METHODS
from benchmarks.meta_step.models import Setup, build_problem

_REPEATS = 3


def peak_in_own_process(method: str, setup: Setup, *, own_allocator: bool) -> Peak | Failure:
    """Return the peaks of one method, or why there are none.

    Args:
        method: Its name in :data:`METHODS`.
        setup: What it is measured on.
        own_allocator: Leave the C library's allocator as it is.
    """
    request = json.dumps({"method": method, "setup": setup.as_json()})
    environment = {**os.environ, **({} if own_allocator else ALLOCATOR)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.meta_step.memory_process"],
        input=request,
        capture_output=True,
        encoding="utf-8",
        env=environment,
        check=False,
        start_new_session=True,  # Ctrl-C is the parent's to answer; it ends this process
    )
    if done.returncode == -signal.SIGKILL:
        return Failure(f"{OUT_OF_MEMORY} (killed by the system)")
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no message"]
        return Failure(f"process ended with status {done.returncode}: {said[-1]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Failure(answer["error"]) if "error" in answer else Peak(**answer)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    setup = Setup(**request["setup"])

    def measure() -> Peak:
        build = partial(METHODS[request["method"]], build_problem(setup))
        return peak_of(build, _REPEATS, torch.device(setup.device), compiled=setup.compile)

    found = attempt(measure)
    return {"error": found.reason} if isinstance(found, Failure) else asdict(found)


if __name__ == "__main__":
    print(json.dumps(_answer(json.load(sys.stdin))))
