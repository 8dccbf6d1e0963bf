"""Times of several steps, interleaved in one run, so that a drifting machine hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch


def interleaved(
    steps: Mapping[str, Callable[[], None]],
    rounds: int,
    warmup: int,
    device: torch.device,
    progress: Callable[[str], None],
) -> dict[str, list[float]]:
    """Run every step once a round and return its times.

    Args:
        steps: By name.
        rounds: Rounds that count.
        warmup: Rounds before them that do not.
        device: Where the steps run; on CUDA they are timed with events.
        progress: Called with a line of text after each round.

    Returns:
        Seconds by name, one for each round.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(warmup + rounds):
        for name, step in steps.items():
            seconds = _timed(step, device)
            if number >= warmup:
                times[name].append(seconds)
        progress(f"round {number + 1} of {warmup + rounds}")
    return times


def _timed(step: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        start, end = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )
        start.record()
        step()
        end.record()
        torch.cuda.synchronize(device)
        return float(start.elapsed_time(end)) / 1000
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def ratios(times: list[float], reference: list[float]) -> list[float]:
    """Return the ratio to the reference round by round."""
    return [own / other for own, other in zip(times, reference, strict=True)]
