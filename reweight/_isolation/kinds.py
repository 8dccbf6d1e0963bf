"""Which objects may be what a model keeps things in."""

from __future__ import annotations

import random
import sys
import threading
from array import array
from functools import lru_cache
from typing import Any
from weakref import ref

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.weak import WeakIdRef

from reweight._isolation.holders import slots_of

# Objects of these packages are not a model's memory: a trainer, a logger, a data loader.
_MACHINERY = (frozenset(sys.stdlib_module_names) - {"types", "argparse"}) | {
    *("torch", "numpy", "lightning", "pytorch_lightning", "lightning_fabric", "accelerate"),
    *("ignite", "wandb", "mlflow", "tensorboard", "deepspeed", "datasets", "tokenizers"),
}
_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Thread)
_MOST_VALUES = 2**20
_NO_MEMORY = (Dataset, DataLoader, Sampler, torch.optim.Optimizer)
LRU = type(lru_cache(maxsize=1)(lambda: None))
"""What ``functools.lru_cache`` makes of a function."""

_LEAST_ADDRESS = 2**16


def is_a_trained_leaf(tensor: Tensor) -> bool:
    """Whether a tensor is one that is trained."""
    try:
        return tensor.requires_grad and tensor.is_leaf
    except RuntimeError:  # a view into what FSDP holds the parameters in
        return False


def is_generator(value: Any) -> bool:
    """Whether an object is a random number generator of Python's or NumPy's."""
    if isinstance(value, random.Random):
        return True
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(
        value, numpy.random.Generator | numpy.random.RandomState
    )


def is_an_identity(key: Any) -> bool:
    """Whether a key stands for a tensor: itself, a reference to it, or its ``id``."""
    if isinstance(key, ref | WeakIdRef):
        return isinstance(key(), Tensor)
    return isinstance(key, Tensor) or (type(key) is int and key > _LEAST_ADDRESS)


def is_an_array(value: Any) -> bool:
    """Whether an object is an array of numbers that is small enough to be copied."""
    if isinstance(value, bytearray | array):
        return len(value) <= _MOST_VALUES
    numpy = sys.modules.get("numpy")
    return (
        numpy is not None
        and isinstance(value, numpy.ndarray)
        and value.flags.writeable
        and value.size <= _MOST_VALUES
    )


def is_a_memory(value: Any) -> bool:
    """Whether an object may be what a model keeps things in, and nobody else's at the same time."""
    own = getattr(value, "__dict__", None)
    kind: Any = type(value)
    if own is None and not slots_of(kind):
        return False
    if callable(getattr(value, "cell_contents", None)) or isinstance(value, (type, *_NO_MEMORY)):
        return False
    if type(value).__module__.partition(".")[0] in _MACHINERY:
        return False
    return not any(isinstance(inside, _LOCKS) for inside in (own or {}).values())
