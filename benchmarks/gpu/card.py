"""What the figures were measured on, the driver and the precision of products included."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import torch

from benchmarks.machine import describe_machine

_QUERY = ("nvidia-smi", "--query-gpu=driver_version,power.limit", "--format=csv,noheader")


def describe_card(device: torch.device) -> dict[str, str]:
    """Return processor or card, driver, versions and what changes float32 products, by name."""
    described = describe_machine(device)
    if device.type != "cuda":
        return described
    properties = torch.cuda.get_device_properties(device)
    described["capability"] = f"{properties.major}.{properties.minor}"
    described["driver"] = driver(device.index or 0)
    described["float32 products"] = torch.get_float32_matmul_precision()
    described["tf32 in convolutions"] = str(torch.backends.cudnn.allow_tf32)
    return described


def driver(index: int, run: Callable[..., str] = subprocess.check_output) -> str:
    """Return the driver's version and the card's power limit, or that they are not known."""
    try:
        said = run([*_QUERY, f"--id={index}"], text=True, timeout=20, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return "not known"
    return (
        said.strip().splitlines()[0].replace(", ", ", power limit ")
        if said.strip()
        else "not known"
    )
