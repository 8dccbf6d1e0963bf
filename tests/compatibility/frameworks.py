"""Frameworks that the compatibility tests try, where they are installed."""

from __future__ import annotations

import importlib

import pytest
import torch

_torchvision_library: list[torch.library.Library] = []  # its operators go when it does
_ASKED_FOR = ("nms", "qnms")


def need(name: str) -> None:
    """Import a framework, or skip the test and say how to have it."""
    _torchvision()
    pytest.importorskip(name, reason=f"{name} is in requirements/frameworks.txt")


def _torchvision() -> None:
    """Make torchvision importable beside a PyTorch of another build.

    PyPI's wheels for Linux are built for CUDA: beside a CPU build of PyTorch their operators are
    missing, and the import ends where it describes one. The models need none of them.
    """
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        _torchvision_library.append(torch.library.Library("torchvision", "FRAGMENT"))
        for name in _ASKED_FOR:
            if not hasattr(torch.ops.torchvision, name):
                schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                _torchvision_library[0].define(schema)
        importlib.import_module("torchvision")
