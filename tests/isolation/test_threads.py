"""Several threads: one step at a time, and no switch stays changed."""

from __future__ import annotations

import itertools
import sys
import threading

import pytest
import torch
from torch import Tensor, nn

from reweight import MetaReweighter
from tests.comparing import assert_same

LOSS = nn.CrossEntropyLoss(reduction="none")


def problem(seed: int) -> tuple[nn.Module, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    generator = torch.Generator(torch.get_default_device()).manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 3))
    batches = (
        (torch.randn(n, 8, generator=generator), torch.randint(3, (n,), generator=generator))
        for n in (6, 4)
    )
    return model.double(), *((x.double(), y) for x, y in batches)


def test_scores_from_several_threads_are_those_of_one():
    expected, problems = {}, [problem(seed) for seed in range(3)]
    for seed, (model, noisy, trusted) in enumerate(problems):
        expected[seed] = MetaReweighter(model, LOSS).score(noisy, trusted).weights
    found: dict[tuple[int, int], Tensor] = {}
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            model, noisy, trusted = problems[seed]
            weigh = MetaReweighter(model, LOSS)
            for turn in range(20):
                step = (weigh.score if turn % 2 else weigh)(noisy, trusted)
                found[seed, turn] = step.weights
                if not turn % 2:
                    step.loss.backward()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(found) == 60
    for (seed, _), weights in found.items():
        assert_same(weights, expected[seed], 1e-9)
    assert torch.backends.mha.get_fastpath_enabled()


def test_one_model_from_several_threads():
    model, noisy, trusted = problem(0)
    own = [id(p) for p in model.parameters()]
    expected = MetaReweighter(model, LOSS).score(noisy, trusted).weights
    weigh = MetaReweighter(model, LOSS)
    found: list[Tensor] = []

    def work() -> None:
        found.extend(weigh.score(noisy, trusted).weights for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 60
    for weights in found:
        assert_same(weights, expected, 1e-9)
    assert [id(p) for p in model.parameters()] == own


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_switches_after_an_exception(call):
    import torch._dynamo

    model, noisy, trusted = problem(0)
    # Anything but a generator would be put back after every scoring pass.
    calls = (number for number in itertools.count(1))

    def losses(output: Tensor, target: Tensor) -> Tensor:
        if next(calls) == call:
            raise ArithmeticError("as arranged")
        return LOSS(output, target)

    def switches() -> tuple[object, ...]:
        return (
            torch.backends.mha.get_fastpath_enabled(),
            torch.autocast.__enter__,
            torch.is_grad_enabled(),
            torch.autograd.forward_ad._current_level,
            sys.modules["torch._dynamo"].eval_frame._stance.stance,
            [id(p) for p in model.parameters()],
        )

    before = switches()
    weigh = MetaReweighter(model, losses)
    with pytest.raises(ArithmeticError):
        [weigh(noisy, trusted) for _ in range(2)]
    assert switches() == before
