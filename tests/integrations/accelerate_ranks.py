"""What the ranks of a run with accelerate do, in processes that somebody else has started."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist


@contextmanager
def _as_launched() -> Iterator[None]:
    """Set what accelerate's launcher tells every process."""
    before = dict(os.environ)
    rank, count = str(dist.get_rank()), str(dist.get_world_size())
    os.environ.update(
        {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        | {"MASTER_ADDR": "localhost", "MASTER_PORT": "29400", "ACCELERATE_USE_CPU": "true"}
    )
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def parameters(model: torch.nn.Module) -> bytes:
    file = io.BytesIO()
    torch.save({n: p.detach() for n, p in model.named_parameters()}, file)
    return file.getvalue()


@_as_launched()
def trained(folder: str, accumulate: int, stop: int) -> dict[str, Any]:
    """Train two epochs, whole and stopped after some steps of the second and resumed."""
    from tests.integrations.test_accelerate import Run, afresh_now

    found: dict[str, Any] = {}
    for name in ("whole", "stopped", "resumed"):
        afresh_now()
        # accelerate draws the seeds of the samplers when it prepares them.
        torch.manual_seed(99 if name == "resumed" else 5 + dist.get_rank())
        run = Run(accumulate, shuffle=True)
        if name == "resumed":
            run.accelerator.load_state(folder)
            run.epoch()
        else:
            run.epoch()
            run.epoch(100 if name == "whole" else stop)
        if name == "stopped":
            run.accelerator.save_state(folder)
        module = run.accelerator.unwrap_model(run.model)
        found[name] = parameters(module)
        found[f"{name} steps"] = [step.weights.tolist() for step in run.steps]
        found[f"{name} ids"] = run.ids
        found[f"{name} trusted"] = run.trusted
        found["wrapped"] = type(run.model).__name__
        found["count"] = run.accelerator.num_processes
    afresh_now()
    return found
