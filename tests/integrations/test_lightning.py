"""Lightning trains as the plain loop does, to the bit, and what can go wrong is said or mended."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reweight import GradientSimilarity, GroupWeights, Rectify, paired
from tests.integrations import lightning_modules as m
from tests.integrations.lightning_modules import Classifier, plain_loop, trainer

LightningModule, Trainer = m.LightningModule, m.Trainer
HARMFUL = {"selector": torch.zeros_like, "trusted_coefficient": 0.0}  # as if nothing agreed


def same(model: nn.Module, other: nn.Module) -> None:
    mine, others = model.state_dict(), other.state_dict()
    assert mine.keys() == others.keys()
    for name, value in mine.items():
        assert torch.equal(value, others[name]), name


def same_steps(steps: Any, others: Any) -> None:
    assert len(steps) == len(others) > 0
    for step, other in zip(steps, others, strict=True):
        assert torch.equal(step.weights, other.weights)
        assert torch.equal(step.loss, other.loss)


def test_weights_and_parameters_are_those_of_the_plain_loop():
    model = Classifier()
    trainer().fit(model, m.loaders())
    twin, steps = plain_loop(m.pairs(2))
    same(model.net, twin)
    same_steps(model.taken, steps)
    assert steps[-1].weights.std() > 0


def test_a_pair_gives_the_batches_it_gives_a_plain_loop():
    model, loader = Classifier(), paired(*m.loaders().values())
    trainer().fit(model, loader)
    again = paired(*m.loaders().values())
    twin, steps = plain_loop([batch for _ in range(2) for batch in again])
    same(model.net, twin)
    same_steps(model.taken, steps)


class Manual(Classifier):
    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        step = self.reweight(batch)
        self.manual_backward(step.loss / 2)
        if batch_idx % 2:
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.parametrize("kind", [Classifier, Manual])
def test_accumulated_gradients_are_those_of_the_plain_loop(kind):
    model = kind()
    given = {"accumulate_grad_batches": 2} if kind is Classifier else {}
    trainer(**given).fit(model, m.loaders())
    twin, steps = plain_loop(m.pairs(2), accumulate=2)
    same(model.net, twin)
    same_steps(model.taken, steps)


def test_bf16_mixed_is_the_plain_loop_under_autocast():
    model = Classifier()
    trainer(precision="bf16-mixed").fit(model, m.loaders())
    twin, steps = plain_loop(m.pairs(2), autocast=True)
    same(model.net, twin)
    same_steps(model.taken, steps)
    assert not torch.equal(model.net[0].weight, plain_loop(m.pairs(2))[0][0].weight)


def test_a_compiled_module_trains_compiled_and_scores_eagerly():
    runs = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        def run(*args: Any) -> Any:
            runs.append(len(args))
            return graph(*args)

        return run

    model = Classifier()
    trainer().fit(torch.compile(model, backend=backend), m.loaders())
    twin, steps = plain_loop(m.pairs(2))
    assert len(runs) == len(steps)  # the training passes, and no other
    for step, other in zip(model.taken, steps, strict=True):
        torch.testing.assert_close(step.weights, other.weights)
    for mine, other in zip(model.net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_a_module_compiled_as_one_graph_is_told_what_to_do():
    compiled = torch.compile(Classifier(), backend="eager", fullgraph=True)
    with pytest.raises(Exception, match="compile the network inside the module"):
        trainer().fit(compiled, m.loaders())
    torch.compiler.reset()


@pytest.mark.parametrize("kind", [Classifier, Manual])
def test_where_nothing_is_kept_no_parameter_moves(kind):
    """Weight decay and momentum would move them."""
    model = kind(**HARMFUL)
    trainer().fit(model, m.loaders())
    assert all(step.kept == 0 for step in model.taken)
    for mine, before in zip(model.net.parameters(), m.network().parameters(), strict=True):
        assert torch.equal(mine, before)


class EveryThird:
    """A selector that keeps nothing in two batches of three."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, weights: Tensor) -> Tensor:
        self.calls += 1
        return weights if self.calls % 3 == 0 else torch.zeros_like(weights)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_steps_without_a_kept_sample_between_others_are_those_of_the_plain_loop(accumulate):
    given = {"selector": EveryThird(), "trusted_coefficient": 0.0}
    model = Classifier(**given)
    trainer(accumulate_grad_batches=accumulate, max_epochs=3).fit(model, m.loaders())
    given["selector"] = EveryThird()
    twin, steps = plain_loop(m.pairs(3), accumulate=accumulate, **given)
    assert [step.kept for step in steps].count(0) == 8
    same(model.net, twin)
    same_steps(model.taken, steps)


def test_the_trusted_term_trains_where_nothing_is_kept():
    model = Classifier(selector=torch.zeros_like)
    trainer().fit(model, m.loaders())
    same(model.net, plain_loop(m.pairs(2), selector=torch.zeros_like)[0])
    assert not torch.equal(model.net[0].weight, m.network()[0].weight)


class TwoOptimizers(Classifier):
    """A second network, trained by something else than the weighted loss."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.automatic_optimization = False
        self.other = nn.Linear(5, 1)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        first, second = self.optimizers()
        for optimizer, loss in (
            (second, self.other(batch["trusted"][0]).square().mean()),
            (first, self.reweight(batch).loss),
        ):
            optimizer.zero_grad()
            self.manual_backward(loss)
        second.step()
        first.step()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [m.sgd(self.net), m.sgd(self.other)]


def test_another_optimiser_moves_though_nothing_is_kept():
    model = TwoOptimizers(**HARMFUL)
    before = model.other.weight.clone()
    trainer().fit(model, m.loaders())
    assert torch.equal(model.net[0].weight, m.network()[0].weight)
    assert not torch.equal(model.other.weight, before)


@pytest.mark.parametrize("kind", ["dict", "paired"])
def test_a_run_resumed_from_a_checkpoint_is_the_one_that_never_stopped(tmp_path, kind):
    def made() -> Any:
        return m.loaders() if kind == "dict" else paired(*m.loaders(shuffle=True).values())

    whole, stopped, resumed = Classifier(), Classifier(), Classifier()
    torch.manual_seed(5)
    trainer(max_epochs=4).fit(whole, made())
    torch.manual_seed(5)
    first = trainer(max_epochs=2)
    first.fit(stopped, made())
    first.save_checkpoint(tmp_path / "last.ckpt")
    random = torch.get_rng_state()
    torch.manual_seed(99)
    second = trainer(max_epochs=4)
    loader = made()
    torch.set_rng_state(random)
    second.fit(resumed, loader, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    same(resumed.net, whole.net)
    same_steps(resumed.taken, whole.taken[len(stopped.taken) :])
    mine, other = (r.reweighter.weighting.state_dict() for r in (resumed, whole))
    torch.testing.assert_close(mine, other, rtol=0, atol=0)
