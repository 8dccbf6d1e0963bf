"""What the ranks of a Lightning fit do, in processes that somebody else has started."""

from __future__ import annotations

import io
import logging
import warnings
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from reweight import MetaReweighter, paired
from tests.integrations import lightning_modules as m

from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy


class Here(LightningEnvironment):
    """The ranks as they are."""

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def world_size(self) -> int:
        return dist.get_world_size()

    def global_rank(self) -> int:
        return dist.get_rank()

    def local_rank(self) -> int:
        return dist.get_rank()

    def node_rank(self) -> int:
        return 0

    def set_world_size(self, size: int) -> None:
        pass

    def set_global_rank(self, rank: int) -> None:
        pass


def fit(model: Any, loaders: Any, strategy: dict[str, Any] | None = None, **given: Any) -> Any:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    ddp = DDPStrategy(
        cluster_environment=Here(), process_group_backend="gloo", **(strategy or {})
    )
    trainer = m.trainer(strategy=ddp, devices=2, **given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(model, loaders)
    return trainer


def state(model: torch.nn.Module) -> bytes:
    file = io.BytesIO()
    torch.save({name: value.double() for name, value in model.state_dict().items()}, file)
    return file.getvalue()


def batches() -> Any:
    noisy, trusted = m.data()
    parts = [(noisy, 3), (trusted, 2)]
    return paired(*[DataLoader(d, n, sampler=DistributedSampler(d, shuffle=False)) for d, n in parts])


class SelectorOfRank:
    """A selector that keeps nothing on some ranks, in some steps."""

    def __init__(self, never: tuple[int, ...]) -> None:
        self.never = never

    def __call__(self, weights: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(weights) if dist.get_rank() in self.never else weights


def plain(**given: Any) -> torch.nn.Module:
    model = m.network()
    wrapped = DistributedDataParallel(model)
    reweighter = MetaReweighter(wrapped, forward=m.losses, **{**m.options(), **given})
    optimizer = m.sgd(model)
    loader = batches()
    for _ in range(2):
        for noisy, trusted in loader:
            step = reweighter(noisy, trusted, ids=noisy[2])
            step.loss.backward()
            if step.kept:
                optimizer.step()
            optimizer.zero_grad()
    return model


def compared(manual: bool, strategy: dict[str, Any], **given: Any) -> dict[str, Any]:
    """Train with Lightning and with a plain loop; return how the two models end."""
    from tests.integrations.test_lightning import Manual

    class Every(Manual):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.manual_backward(self.reweight(batch).loss)
            self.optimizers().step()
            self.optimizers().zero_grad()

    model = (Every if manual else m.Classifier)(**given)
    fit(model, batches(), strategy)
    return {
        "mine": state(model.net),
        "plain": state(plain(**given)),
        "start": state(m.network()),
        "kept": [step.kept for step in model.taken],
        "own": [int((step.weights > 0).sum()) for step in model.taken],
    }


def keeping_nothing(never: tuple[int, ...], sync: str) -> dict[str, Any]:
    selector = SelectorOfRank(never)
    return compared(False, {}, selector=selector, trusted_coefficient=0.0, sync=sync)


def with_a_dict_of_loaders() -> list[int]:
    """Return the ids that this rank has seen."""
    seen: list[int] = []

    class Seeing(m.Classifier):
        def batch_ids(self, noisy: Any) -> torch.Tensor:
            seen.extend(noisy[2].tolist())
            return noisy[2]

    fit(Seeing(), m.loaders(), max_epochs=1)
    return sorted(seen)


def undivided() -> str:
    try:
        fit(m.Classifier(), paired(*m.loaders().values()))
    except ValueError as error:
        return str(error)
    return ""
