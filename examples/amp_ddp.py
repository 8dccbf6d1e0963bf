"""Mixed precision on two processes, stopped half-way and resumed.

The usual loop of `DistributedDataParallel` under `torch.autocast`, the reweighter given the wrapped
model; `sync="global"` weighs the batches of both ranks as one. Model, optimiser, reweighter and the
place in the data are saved half-way. Training goes on to the end, then once more from the file, and
the table says by how much the two ends differ: by nothing.
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


class Training:
    """All that one rank trains with."""

    def __init__(self, noisy: TensorDataset, trusted: TensorDataset) -> None:
        torch.manual_seed(0)
        layers = nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 2)
        self.model = DistributedDataParallel(nn.Sequential(*layers))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.labels, loss = MendedLabels(len(noisy), 2), nn.CrossEntropyLoss(reduction="none")
        options: Any = {"labels": self.labels, "trusted_coefficient": 0.1, "sync": "global"}
        self.reweighter = MetaReweighter(self.model, loss, **options)
        loaders = (DataLoader(d, 25, sampler=DistributedSampler(d)) for d in (noisy, trusted))
        self.batches = paired(*loaders)
        self.parts: Any = self.model, self.optimizer, self.reweighter, self.batches

    def run(self, epochs: int) -> None:
        """Train. Where float16 wants a ``GradScaler``, it scales ``step.loss`` as any loss."""
        for _ in range(epochs):
            for (x, y, ids), trusted_batch in self.batches:
                self.optimizer.zero_grad()
                with torch.autocast("cpu", torch.bfloat16):
                    step = self.reweighter((x, y), trusted_batch, ids=ids)
                step.loss.backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()


def rounds(count: int, epochs: int, file: str) -> dict[str, float]:
    """Train, save, train on; then go on from the file, and compare both ends."""
    random = torch.Generator().manual_seed(0)
    x, truth, labels = moons_labelled(count, random)
    trusted, test = TensorDataset(*moons(40, random)), moons(2000, random)
    noisy, wrong = TensorDataset(x, labels, torch.arange(count)), labels != truth
    whole, resumed = Training(noisy, trusted), Training(noisy, trusted)
    whole.run(epochs)
    torch.save([part.state_dict() for part in whole.parts], file)
    whole.run(epochs)
    for part, state in zip(resumed.parts, torch.load(file), strict=True):
        part.load_state_dict(state)
    resumed.run(epochs)
    ends = [
        nn.utils.parameters_to_vector(run.model.parameters()).detach() for run in (whole, resumed)
    ]
    found = {"accuracy": accuracy(whole.model, *test), "apart": (ends[0] - ends[1]).abs().max()}
    found |= {"right": whole.labels.trust[~wrong].mean(), "wrong": whole.labels.trust[wrong].mean()}
    return {name: float(value) for name, value in found.items()}


def work(rank: int, folder: str, *given: int) -> None:
    """Do what one of two ranks does. Under torchrun, ``init_process_group("gloo")`` is enough."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/ranks", rank=rank, world_size=2)
    torch.save(rounds(*given, file := f"{folder}/{rank}.pt"), file)
    distributed.barrier()
    distributed.destroy_process_group()


def main(count: int = 1000, epochs: int = 10) -> list[dict[str, float]]:
    """Start both ranks, ``epochs`` before the file and after, and print what they found."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(work, (folder, count, epochs), nprocs=2)  # type: ignore[no-untyped-call]
        found: list[dict[str, float]] = [torch.load(f"{folder}/{rank}.pt") for rank in (0, 1)]
    print("rank  accuracy  trust in right labels  in wrong ones  resumed, apart by")
    for rank, row in enumerate(found):
        print("{:4}{accuracy:9.1%}{right:23.2f}{wrong:15.2f}{apart:19}".format(rank, **row))
    return found


if __name__ == "__main__":
    main()
