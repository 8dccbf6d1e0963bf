"""What a figure was measured on, to be printed beside it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def describe_machine(device: torch.device) -> dict[str, str]:
    """Return processor or GPU, threads, and the versions that matter, by name."""
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory / 2**30
        processor = f"{torch.cuda.get_device_name(device)}, {memory:.0f} GiB"
    else:
        processor = f"{_processor()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads"
    described = {
        "device": processor,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        described["cuda"] = str(torch.version.cuda)
        described["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    for package in ("monai", "torchopt", "higher", "betty-ml", "cleanlab", "torch-reweight"):
        found = _version(package)
        if found is not None:
            described[package] = found
    return described


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
