"""Noisy batches with a trusted one beside each, as an ordinary loop over epochs wants them."""

from __future__ import annotations

import gc
import io
import itertools
import multiprocessing
import random
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
)

from reweight import Paired, paired

pytestmark = pytest.mark.usefixtures("on_the_cpu")  # PyTorch's loaders shuffle by its generator


class Numbers(Dataset):
    """Item i is i, and a random number as an augmentation would draw it."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor([float(index), float(torch.rand(()))])


def loader(count: int, size: int, seed: int | None = None, **options: Any) -> DataLoader:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    options.setdefault("shuffle", True)
    return DataLoader(Numbers(count), batch_size=size, generator=generator, **options)


def rows(batch: Tensor) -> list[int]:
    return batch[:, 0].int().tolist()


def joined(parts: Iterable[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(parts))


def test_an_iteration_is_one_pass_over_the_noisy_loader():
    batches = paired(loader(10, 3), loader(4, 2))
    assert isinstance(batches, Paired)
    for _ in range(3):
        noisy = [rows(noisy) for noisy, _ in batches]
        assert [len(batch) for batch in noisy] == [3, 3, 3, 1]
        assert sorted(joined(noisy)) == list(range(10))


def test_the_trusted_loader_is_begun_again_and_shuffled_anew():
    batches = paired(loader(40, 2), loader(8, 2))
    trusted = [rows(trusted) for _, trusted in batches]
    passes = [joined(trusted[first : first + 4]) for first in range(0, 20, 4)]
    assert all(sorted(found) == list(range(8)) for found in passes)
    assert len({tuple(found) for found in passes}) == 5


def test_the_trusted_loader_goes_on_in_the_next_epoch():
    batches = paired(list(range(3)), list("abcdefg"))
    found = "".join(trusted for _ in range(5) for _, trusted in batches)
    assert found == "abcdefgabcdefga"


def test_an_epoch_that_is_left_early_does_not_end_the_trusted_pass():
    batches = paired(list(range(5)), list("abc"))
    first = [pair for pair, _ in zip(batches, range(2))]  # noqa: B905 - left early
    assert first == [(0, "a"), (1, "b")]
    assert next(iter(batches))[0] == 0


@pytest.mark.parametrize("size", [1, 3, 4])
def test_its_length_is_that_of_the_noisy_loader(size):
    assert len(paired(loader(10, size), loader(4, 2))) == -(-10 // size)


class Endless(IterableDataset):
    def __iter__(self):
        return itertools.count()


def test_endless_loaders_work():
    batches = paired(DataLoader(Endless(), batch_size=2), DataLoader(Endless(), batch_size=3))
    found = list(itertools.islice(batches, 50))
    assert found[-1][0].tolist() == [98, 99]
    assert found[-1][1].tolist() == [147, 148, 149]
    with pytest.raises(TypeError, match="len"):
        len(batches)


# Going on ----------------------------------------------------------------------------------------

NOISY, TRUSTED = 7, 3


class Stateful:
    """A loader with a state of its own, as torchdata's: shuffled by a number it remembers."""

    def __init__(self, count: int) -> None:
        self.count, self.passes, self.at = count, 0, None

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        if self.at is None:
            self.passes, self.at = self.passes + 1, 0
        order = random.Random(self.passes).sample(range(self.count), self.count)
        self.loads = 0
        while self.at < self.count:
            self.loads += 1
            self.at += 1
            yield torch.tensor([[float(order[self.at - 1]), 0.0]])
        self.at = None

    def state_dict(self):
        return {"passes": self.passes, "at": self.at}

    def load_state_dict(self, state):
        self.passes, self.at = state["passes"], state["at"]


def with_replacement(count: int, seed: int) -> DataLoader:
    """Draws more random numbers while it goes."""
    generator = torch.Generator().manual_seed(seed)
    data = Numbers(count)
    sampler = RandomSampler(data, replacement=True, num_samples=100, generator=generator)
    return DataLoader(data, batch_size=10, sampler=sampler)


def with_one_generator() -> tuple[Any, Any]:
    shared = torch.Generator().manual_seed(5)
    return (
        DataLoader(Numbers(NOISY), shuffle=True, generator=shared),
        DataLoader(Numbers(TRUSTED), shuffle=True, generator=shared),
    )


LOADERS = {
    "generators": lambda: (loader(NOISY, 1, 1), loader(TRUSTED, 1, 2)),
    "global_stream": lambda: (loader(NOISY, 1), loader(TRUSTED, 1)),
    "one_generator": with_one_generator,
    "not_shuffled": lambda: (loader(NOISY, 1, shuffle=False), loader(TRUSTED, 1, shuffle=False)),
    "many_trusted": lambda: (loader(NOISY, 1, 1), loader(50, 2, 2)),
    "lists": lambda: (list(torch.arange(NOISY)), [torch.zeros(1, 2), torch.ones(1, 2)]),
    "workers": lambda: (loader(NOISY, 1, 1, num_workers=1), loader(TRUSTED, 1, 2, num_workers=1)),
    "with_a_state": lambda: (Stateful(NOISY), Stateful(TRUSTED)),
    "one_with_a_state": lambda: (Stateful(NOISY), loader(TRUSTED, 1, 2)),
    "drawing_on": lambda: (with_replacement(30, 1), with_replacement(9, 2)),
    "numbered": lambda: (
        DataLoader(Numbers(NOISY), sampler=DistributedSampler(Numbers(NOISY), 2, 1)),
        DataLoader(Numbers(TRUSTED), sampler=DistributedSampler(Numbers(TRUSTED), 2, 1)),
    ),
}


def run(batches: Paired, steps: int, stop_in_loop: bool = True) -> list[Tensor]:
    """The batches of so many steps, and what training draws of the global stream beside."""
    found: list[Tensor] = []
    while True:
        for noisy, trusted in batches:
            found += [noisy, trusted, torch.rand(2)]
            if len(found) == 3 * steps and stop_in_loop:
                return found
        if len(found) >= 3 * steps:
            return found


def saved(batches: Paired) -> Any:
    stream = io.BytesIO()
    torch.save({"pairs": batches.state_dict(), "random": torch.get_rng_state()}, stream)
    return torch.load(io.BytesIO(stream.getvalue()), weights_only=True)


@pytest.mark.parametrize("stop", [1, 3, 7, 8, 17])
@pytest.mark.parametrize("name", LOADERS)
def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(name, stop):
    torch.manual_seed(3)
    expected = run(paired(*LOADERS[name]()), 24)
    torch.manual_seed(3)
    before = paired(*LOADERS[name]())
    first = run(before, stop)
    state = saved(before)
    run(before, 2)  # what was saved does not change any more
    after = paired(*LOADERS[name]())
    after.load_state_dict(state["pairs"])
    torch.manual_seed(99)
    torch.set_rng_state(state["random"])
    rest = run(after, 24 - stop)
    assert len(first) + len(rest) == len(expected)
    assert all(map(torch.equal, first + rest, expected))


@pytest.mark.parametrize("name", LOADERS)
def test_a_run_saved_between_two_epochs_begins_with_a_whole_one(name):
    torch.manual_seed(3)
    before = paired(*LOADERS[name]())
    run(before, len(before), stop_in_loop=False)
    state = saved(before)
    expected = run(before, 2 * len(before), stop_in_loop=False)
    after = paired(*LOADERS[name]())
    after.load_state_dict(state["pairs"])
    torch.set_rng_state(state["random"])
    found = run(after, 2 * len(before), stop_in_loop=False)
    assert all(map(torch.equal, found, expected))


def test_a_loader_with_a_state_loads_nothing_twice():
    before = paired(Stateful(NOISY), Stateful(TRUSTED))
    run(before, 4)
    noisy = Stateful(NOISY)
    after = paired(noisy, Stateful(TRUSTED))
    after.load_state_dict(saved(before)["pairs"])
    assert len(list(after)) == NOISY - 4
    assert noisy.loads == NOISY - 4


def test_a_state_that_was_loaded_can_be_saved_again():
    before = paired(loader(NOISY, 1, 1), loader(TRUSTED, 1, 2))
    run(before, 4)
    middle = paired(loader(NOISY, 1, 1), loader(TRUSTED, 1, 2))
    middle.load_state_dict(saved(before)["pairs"])
    after = paired(loader(NOISY, 1, 1), loader(TRUSTED, 1, 2))
    after.load_state_dict(saved(middle)["pairs"])
    assert [rows(noisy) for noisy, _ in after] == [rows(noisy) for noisy, _ in middle]


def test_going_on_moves_no_global_stream():
    """What is loaded once more draws augmentations, and iterators draw seeds."""
    before = paired(loader(NOISY, 1), loader(TRUSTED, 1))
    run(before, 4)
    after = paired(loader(NOISY, 1), loader(TRUSTED, 1))
    after.load_state_dict(before.state_dict())
    random.seed(1)
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    noisy, trusted = next(iter(after))
    drawn = torch.stack([noisy[0, 1], trusted[0, 1], *torch.rand(2)])
    assert torch.equal(drawn, expected)
    assert random.random() == random.Random(1).random()


def test_a_state_of_other_data_is_refused():
    before = paired(loader(NOISY, 1), loader(TRUSTED, 1))
    run(before, 5)
    after = paired(loader(3, 1), loader(TRUSTED, 1))
    after.load_state_dict(before.state_dict())
    with pytest.raises(ValueError, match=r"handed out 5 batches.*this loader has 3"):
        next(iter(after))


def test_a_state_of_another_kind_of_loader_is_refused():
    before = paired(Stateful(NOISY), Stateful(TRUSTED))
    run(before, 5)
    after = paired(loader(NOISY, 1), Stateful(TRUSTED))
    after.load_state_dict(before.state_dict())
    with pytest.raises(ValueError, match="load_state_dict"):
        next(iter(after))


@pytest.mark.parametrize("state", [{}, [], {"noisy": None}])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(ValueError, match="state_dict"):
        paired([1], [2]).load_state_dict(state)


# DistributedSampler ------------------------------------------------------------------------------


def sampled(count: int) -> DataLoader:
    data = Numbers(count)
    return DataLoader(data, sampler=DistributedSampler(data, num_replicas=2, rank=0))


def order(count: int, epoch: int) -> list[int]:
    sampler = DistributedSampler(Numbers(count), num_replicas=2, rank=0)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_both_samplers_are_told_of_every_pass():
    batches = paired(sampled(20), sampled(8))
    found = [[(rows(noisy), rows(trusted)) for noisy, trusted in batches] for _ in range(4)]
    for epoch, pairs in enumerate(found):
        assert joined(noisy for noisy, _ in pairs) == order(20, epoch)
    trusted = joined(trusted for pairs in found for _, trusted in pairs)
    assert trusted == joined(order(8, epoch) for epoch in range(10))


@pytest.mark.parametrize("by", ["sampler", "pairs"])
def test_the_number_of_an_epoch_may_be_set(by):
    noisy = sampled(20)
    batches = paired(noisy, sampled(8))
    for epoch in (0, 1, 5, 6, 0):
        (noisy.sampler if by == "sampler" else batches).set_epoch(epoch)
        assert joined(rows(noisy) for noisy, _ in batches) == order(20, epoch)


def test_epochs_are_counted_on_from_one_that_was_set():
    batches = paired(sampled(20), sampled(8))
    batches.set_epoch(3)
    for epoch in (3, 4, 5):
        assert joined(rows(noisy) for noisy, _ in batches) == order(20, epoch)


# Wrong use ---------------------------------------------------------------------------------------


def test_an_empty_trusted_loader_is_an_error():
    batches = paired(loader(4, 2), loader(3, 4, drop_last=True))
    with pytest.raises(ValueError, match=r"trusted_loader returned no batch.*drop_last"):
        next(iter(batches))


def test_a_trusted_loader_that_ends_for_good_is_an_error():
    class Once:
        def __init__(self):
            self.left = iter(range(3))

        def __iter__(self):
            return self.left

    with pytest.raises(ValueError, match="more than once"):
        list(paired(range(10), Once()))


@pytest.mark.parametrize(
    "make",
    [iter, lambda loader: (batch for batch in loader), lambda loader: itertools.cycle(loader)],
)
@pytest.mark.parametrize("which", [0, 1])
def test_an_iterator_is_refused(make, which):
    loaders: list[Any] = [loader(4, 2), loader(4, 2)]
    loaders[which] = make(loaders[which])
    with pytest.raises(TypeError, match=("noisy_loader", "trusted_loader")[which] + " is an iter"):
        paired(*loaders)


def test_what_cannot_be_iterated_over_is_refused():
    with pytest.raises(TypeError, match=r"trusted_loader must be a DataLoader.*got int"):
        paired([1], 3)


def test_one_loader_for_both_is_refused():
    one = loader(4, 2)
    with pytest.raises(ValueError, match="one object"):
        paired(one, one)


# Workers -----------------------------------------------------------------------------------------


def workers() -> int:
    gc.disable()
    try:
        return len(multiprocessing.active_children())
    finally:
        gc.enable()


@pytest.mark.parametrize("persistent", [False, True])
def test_worker_processes_end_with_the_pair(persistent):
    options = {"num_workers": 1, "persistent_workers": persistent}
    before = workers()
    batches = paired(loader(4, 1, **options), loader(2, 1, **options))
    for _ in range(2):
        for _ in batches:
            assert workers() == before + 2
            break
    assert workers() == before + (2 if persistent else 1)  # of the noisy loader none is left
    for _ in batches:
        assert workers() == before + 2
    del batches
    assert workers() == before
