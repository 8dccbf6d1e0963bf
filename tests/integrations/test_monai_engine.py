"""``ReweightedTrainer``: events, inferer, outputs, metrics and handlers are MONAI's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.integrations.medical import loaders, network

pytest.importorskip("monai", reason="monai is in the extra monai")
pytest.importorskip("ignite", reason="ignite is in the extra monai")

from ignite.engine import Events
from ignite.metrics import RunningAverage
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.handlers import CheckpointSaver, MeanDice, StatsHandler, from_engine
from monai.inferers import SimpleInferer
from monai.losses import DiceCELoss
from monai.transforms import AsDiscreted

from reweight.integrations.monai import per_sample
from tests.integrations.monai_runs import LOSS, trainer


def test_events_come_in_order_with_what_they_are_about():
    seen: list[tuple[str, set[str]]] = []
    engine = trainer(1, decollate=False)
    for event in (
        IterationEvents.FORWARD_COMPLETED,
        IterationEvents.LOSS_COMPLETED,
        IterationEvents.BACKWARD_COMPLETED,
        IterationEvents.MODEL_COMPLETED,
    ):
        engine.add_event_handler(
            event, lambda e, name=event.value: seen.append((name, set(e.state.output)))
        )
    graph: list[bool] = []
    engine.add_event_handler(
        IterationEvents.FORWARD_COMPLETED,
        lambda e: graph.append(e.state.output["pred"].requires_grad),
    )
    engine.run()
    first = {"image", "label", "pred"}
    whole = {*first, "loss", "weights"}
    assert seen == 3 * [
        ("forward_completed", first),
        ("loss_completed", whole),
        ("backward_completed", whole),
        ("model_completed", whole),
    ]
    assert graph == [True] * 3


def test_predictions_are_those_of_the_training_pass():
    inputs: list[Tensor] = []

    class Noting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network(dropout=0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    engine = trainer(3, model=Noting(), decollate=False)
    gradients: list[Tensor] = []

    def note(e: Any) -> None:
        e.state.output["pred"].register_hook(lambda grad: gradients.append(grad.abs().sum()))
        inputs.append(e.state.output["image"])

    engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, note)
    engine.run()
    assert len(gradients) == len(inputs) == 9  # the loss goes back through each of them
    assert all(float(gradient) > 0 for gradient in gradients)


class Counting(SimpleInferer):
    """Halves what a network says."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: set[type] = set()

    def __call__(self, inputs: Any, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.kinds.add(type(inputs))
        return 0.5 * super().__call__(inputs, network, *args, **kwargs)


def test_the_inferer_is_used_in_every_pass():
    inferer = Counting()
    engine = trainer(1, inferer=inferer, meta=True, decollate=False)
    engine.run()
    step, output = engine.state.reweighted_step, engine.state.output
    losses = per_sample(DiceCELoss(**LOSS))(output["pred"], output["label"])
    torch.testing.assert_close(step.losses, losses.detach())
    assert inferer.kinds == {Tensor}


def test_extra_inputs_reach_the_network():
    from monai.engines.utils import PrepareBatchExtraInput

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: Tensor, shift: Tensor) -> Tensor:
            return self.inner(x) + shift.reshape(-1, 1, 1, 1)

    for keys in (["id"], {"shift": "id"}):
        engine = trainer(1, model=Shifted(), prepare_batch=PrepareBatchExtraInput(keys))
        engine.run()
        assert len(engine.seen) == 3


@pytest.mark.parametrize("meta", [False, True])
def test_outputs_are_those_of_monai_images_with_their_data(meta):
    engine = trainer(1, meta=meta)
    engine.run()
    noisy, _ = loaders(meta=meta)
    theirs = SupervisedTrainer(
        torch.device("cpu"), 1, noisy, network(), engine.optimizer, DiceCELoss(**LOSS)
    )
    theirs.run()
    ours, other = engine.state.output, theirs.state.output
    assert len(ours) == len(other) == 4
    for left, right in zip(ours, other, strict=True):
        assert set(left) - set(right) == {"weights"}
        for key in right:
            assert type(left[key]) is type(right[key])
        if meta:
            assert left["pred"].meta["filename_or_obj"] == right["pred"].meta["filename_or_obj"]
            assert left["pred"].is_batch == right["pred"].is_batch
    assert not ours[0]["pred"].requires_grad


def test_metrics_handlers_and_postprocessing_work_as_in_monai(tmp_path):
    lines: list[str] = []
    engine = trainer(
        2,
        key_train_metric={"dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
        additional_metrics={
            "loss": RunningAverage(output_transform=from_engine("loss", first=True))
        },
        postprocessing=AsDiscreted(keys=["pred", "label"], argmax=(True, False), to_onehot=2),
        train_handlers=[
            StatsHandler(output_transform=from_engine("loss", first=True), name="reweight-test"),
            CheckpointSaver(
                str(tmp_path), {"net": network()}, save_key_metric=True, key_metric_n_saved=1
            ),
        ],
    )
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda e: lines.append(f"{e.state.metrics['dice']:.3f}")
    )
    engine.run()
    assert len(lines) == 2
    assert engine.state.best_metric_epoch in (1, 2)
    assert 0 < engine.state.metrics["dice"] < 1
    assert len(list(tmp_path.glob("*key_metric*"))) == 1
