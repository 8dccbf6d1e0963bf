"""Trusted batches without end, shuffled anew in every pass, that can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from reweight._isolation.random_state import RandomState
from reweight._loading.passes import Pass
from reweight._loading.streams import own_streams, put_back, states_of


class TrustedBatches:
    """An endless stream of batches of a data set.

    Its order comes from a generator of its own, so that the order of the noisy batches is that of
    a run without it.

    Args:
        dataset: With a length.
        collator: From a list of items to a batch.
        batch_size: How many items a batch has; the last of a pass may have fewer.
        seed: Of the order.
        **options: For the ``DataLoader``.

    Raises:
        ValueError: If the data set is empty.
    """

    def __init__(
        self,
        dataset: Any,
        collator: Callable[[list[Any]], Any],
        batch_size: int,
        seed: int,
        **options: Any,
    ) -> None:
        if len(dataset) == 0:
            raise ValueError("trusted_dataset is empty, so nothing can judge the noisy samples.")
        generator = torch.Generator().manual_seed(seed)
        self.loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=RandomSampler(dataset, generator=generator),
            collate_fn=collator,
            generator=generator,
            **options,
        )
        self._pass: Pass[Any] | None = None
        self._next = 0

    def __iter__(self) -> TrustedBatches:
        return self

    def __next__(self) -> Any:
        while True:
            if self._pass is None:
                self._pass = Pass(self.loader, self._next)
                self._next += 1
            for batch in self._pass:
                return batch
            self._pass.close()  # before the next pass starts workers of its own
            self._pass = None

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream stands."""
        return {
            "pass": None if self._pass is None else self._pass.state_dict(),
            "next": self._next,
            "generators": states_of(own_streams(self.loader)),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand where :meth:`state_dict` says; batches of the pass begun are loaded once more.

        Raises:
            ValueError: If the state is of other data.
        """
        before = RandomState([])
        try:
            begun = state["pass"]
            self._pass = None if begun is None else Pass.resumed(self.loader, begun)
            self._next = state["next"]
            put_back(own_streams(self.loader), state["generators"])
        finally:
            before.restore()


def moved(batch: Any, device: torch.device) -> Any:
    """Return a batch on a device: dicts, lists and tuples of tensors; anything else as it is."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: moved(value, device) for key, value in batch.items()}
    if type(batch) in (list, tuple):
        return type(batch)(moved(value, device) for value in batch)
    return batch
