"""``ReweightedTrainer``: MONAI's engine, its batches weighed as the plain loop weighs them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reweight import GradientSimilarity
from tests.integrations.medical import loaders, network, parameters_of

pytest.importorskip("monai", reason="monai is in the extra monai")
pytest.importorskip("ignite", reason="ignite is in the extra monai")

from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.losses import DiceCELoss

from tests.counting import operators_of
from tests.integrations.monai_runs import LOSS, assert_same, plain_loop, trainer


@pytest.mark.parametrize("meta", [False, True])
def test_weights_and_parameters_are_those_of_the_plain_loop(meta):
    engine = trainer(meta=meta)
    engine.run()
    assert_same(engine, plain_loop())
    assert len({float(step.weights.std()) for step in engine.seen}) > 1  # they do differ


def test_it_is_so_without_memory_and_with_another_scorer():
    options = {"scorer": GradientSimilarity("double_backward")}
    engine = trainer(options=options)
    engine.run()
    assert_same(engine, plain_loop(options={"scorer": GradientSimilarity("double_backward")}))


def test_gradients_are_accumulated_as_by_monai():
    engine = trainer(accumulation_steps=2)
    engine.run()
    assert_same(engine, plain_loop(group=2))


def test_equal_weights_are_the_training_of_monai():
    options = {"weighting": lambda context: torch.ones_like(context.losses)}
    engine = trainer(options=options)
    engine.run()
    noisy, _ = loaders()
    model = network()
    theirs = SupervisedTrainer(
        torch.device("cpu"),
        2,
        noisy,
        model,
        torch.optim.SGD(model.parameters(), 0.1, momentum=0.9),
        DiceCELoss(**LOSS),
    )
    theirs.add_event_handler(
        Events.EPOCH_STARTED, lambda engine: noisy.set_epoch(engine.state.epoch - 1)
    )
    theirs.run()
    for left, right in zip(parameters_of(engine.network), parameters_of(model), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)


def test_a_compiled_network_is_trained_all_the_same():
    engine = trainer(1, meta=True, compile=True, compile_kwargs={"backend": "eager"})
    engine.run()
    for found, step in zip(engine.seen, plain_loop(1)[1], strict=True):
        torch.testing.assert_close(found.weights, step.weights)
    assert engine.state.output[0]["pred"].meta["filename_or_obj"].startswith("scan")


@pytest.mark.filterwarnings("ignore:.*GradScaler.*")
def test_amp_trains_in_bfloat16_as_the_plain_loop_does_and_scores_do_not():
    engine = trainer(amp=True, amp_kwargs={"dtype": torch.bfloat16}, decollate=False)
    kinds: set[torch.dtype] = set()
    engine.add_event_handler(
        IterationEvents.FORWARD_COMPLETED, lambda e: kinds.add(e.state.output["pred"].dtype)
    )
    engine.run()
    assert kinds == {torch.bfloat16}
    expected = plain_loop(around=lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    assert_same(engine, expected)
    assert not torch.equal(engine.seen[-1].losses, plain_loop()[1][-1].losses)


class Scaler:
    """Scales by 8, and notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def scale(self, loss: Tensor) -> Tensor:
        self.asked.append("scale")
        return 8 * loss

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        self.asked.append("step")
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad /= 8
        optimizer.step()

    def update(self) -> None:
        self.asked.append("update")


@pytest.mark.filterwarnings("ignore:.*GradScaler.*")
def test_the_scaler_of_amp_scales_steps_and_is_updated():
    engine, scaler = trainer(1, amp=True, amp_kwargs={"enabled": False}), Scaler()
    engine.add_event_handler(Events.STARTED, lambda e: setattr(e, "scaler", scaler))
    engine.run()
    assert scaler.asked == 3 * ["scale", "step", "update"]
    assert_same(engine, plain_loop(1))


def test_the_optimiser_rests_when_nothing_is_kept():
    model = network()
    options = {"selector": torch.zeros_like, "weighting": lambda c: torch.ones_like(c.losses)}
    engine = trainer(1, model=model, options=options)
    before = [value.detach().clone() for value in model.parameters()]
    for group in engine.optimizer.param_groups:
        group["weight_decay"] = 0.5
    engine.run()
    for left, right in zip(before, model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_metatensors_cost_no_operator_more_than_plain_tensors():
    counts = []
    for meta in (False, True):
        engine = trainer(5, meta=meta, options={"scorer": GradientSimilarity("forward")})
        engine.run()
        noisy, trusted = loaders(meta=meta)
        prepared = [engine._prepared(next(iter(loader))) for loader in (noisy, trusted)]
        for _ in range(2):
            engine.reweighting.step(*prepared)
        counts.append(operators_of(lambda e=engine, p=prepared: e.reweighting.step(*p)))
    assert counts[0] > 100
    # MetaTensor.as_tensor() is a view or none.
    assert counts[1] <= counts[0] + 8


def test_scores_are_checked_on_batches_of_the_loaders():
    engine = trainer(1, meta=True)
    report = engine.check(next(iter(loaders(meta=True)[0])), next(iter(loaders(meta=True)[1])))
    assert report.ok, report
