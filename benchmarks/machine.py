"""What a figure was measured on, to be printed beside it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch


def describe_machine(device: torch.device) -> dict[str, str]:
    """Return processor or GPU, threads, and the versions that matter, by name."""
    if device.type == "cuda":
        processor = torch.cuda.get_device_name(device)
    else:
        processor = f"{_processor()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads"
    return {
        "device": processor,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": version("monai"),
        "torchopt": version("torchopt"),
        "torch-reweight": version("torch-reweight"),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
