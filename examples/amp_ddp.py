"""Mixed precision on two processes, stopped half-way and resumed.

The usual loop of `DistributedDataParallel` under `torch.autocast`, the reweighter given the wrapped
model; `sync="global"` weighs the batches of both ranks as one. What is saved half-way is trained to
the end a second time, with the same end to the bit. The points are those of `quickstart`.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from examples._data import accuracy, moons, moons_labelled
from reweight import MendedLabels, MetaReweighter, paired


def begin(noisy: TensorDataset, trusted: TensorDataset) -> Any:
    """Return what is trained with: model, optimiser, reweighter, batches."""
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 2)))
    options: Any = {"labels": MendedLabels(len(noisy), 2), "trusted_coefficient": 0.1}
    loss = nn.CrossEntropyLoss(reduction="none")
    reweighter = MetaReweighter(model, loss, sync="global", **options)
    loaders = (DataLoader(d, 25, sampler=DistributedSampler(d)) for d in (noisy, trusted))
    return model, torch.optim.Adam(model.parameters(), lr=0.01), reweighter, paired(*loaders)


def train(epochs: int, _: Any, optimizer: Any, reweighter: MetaReweighter, batches: Any) -> None:
    """Train. Where float16 wants a ``GradScaler``, it scales ``step.loss`` as any loss."""
    for _ in range(epochs):
        for (x, y, ids), trusted_batch in batches:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                step = reweighter((x, y), trusted_batch, ids=ids)
            step.loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def work(rank: int, folder: str, count: int, epochs: int) -> None:
    """Do what one of two ranks does. Under torchrun, ``init_process_group("gloo")`` is enough."""
    distributed.init_process_group("gloo", f"file://{folder}/ranks", rank=rank, world_size=2)
    random, file = torch.Generator().manual_seed(0), f"{folder}/{rank}.pt"
    x, _, labels = moons_labelled(count, random)
    noisy = TensorDataset(x, labels, torch.arange(count))
    trusted = TensorDataset(*moons(40, random))
    whole, resumed = begin(noisy, trusted), begin(noisy, trusted)
    train(epochs, *whole)
    torch.save([part.state_dict() for part in whole], file)
    train(epochs, *whole)
    for part, state in zip(resumed, torch.load(file), strict=True):
        part.load_state_dict(state)
    train(epochs, *resumed)
    ends = [nn.utils.parameters_to_vector(model.parameters()) for model, *_ in (whole, resumed)]
    apart = (ends[0] - ends[1]).detach().abs().max().item()
    torch.save((accuracy(whole[0], *moons(2000, random)), apart), file)
    del whole, resumed, part  # before the group that they speak through
    distributed.barrier()
    distributed.destroy_process_group()


def main(count: int = 1000, epochs: int = 10) -> list[tuple[float, float]]:
    """Start both ranks, ``epochs`` before the file and after; return what each prints."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(work, (folder, count, epochs), nprocs=2)  # type: ignore[no-untyped-call]
        found = [torch.load(f"{folder}/{rank}.pt") for rank in (0, 1)]
    for rank, (right, apart) in enumerate(found):
        print(f"rank {rank}: accuracy {right:.1%}; resumed, apart by {apart}")
    return found


if __name__ == "__main__":
    main()
