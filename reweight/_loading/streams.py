"""The random number streams that a loader takes its order from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reweight._loading.epochs import parts_of


def own_streams(loader: Any) -> list[torch.Generator]:
    """Return the generators that the loader and its samplers were given, each once."""
    found = [getattr(part, "generator", None) for part in parts_of(loader)]
    return list(dict.fromkeys(g for g in found if isinstance(g, torch.Generator)))


def states_of(streams: Sequence[torch.Generator]) -> list[Tensor]:
    """Return where each stands."""
    return [stream.get_state() for stream in streams]


def put_back(streams: Sequence[torch.Generator], states: Sequence[Tensor]) -> None:
    """Put each where it stood.

    Raises:
        ValueError: If there are more or fewer than when the states were taken.
    """
    if len(streams) != len(states):
        raise ValueError(
            f"the state was saved with {len(states)} random generators in the loader, and this "
            f"loader has {len(streams)}. Build the loader as it was built then."
        )
    for stream, state in zip(streams, states, strict=True):
        stream.set_state(state.cpu())
