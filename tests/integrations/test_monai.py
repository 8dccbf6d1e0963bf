"""``ReweightedTrainer``: MONAI's engine, its batches weighed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reweight import (
    GradientSimilarity,
    GroupWeights,
    LastLayerGradient,
    MetaReweighter,
    SampleWeights,
    TrainingDynamics,
    paired,
)
from tests.compatibility.frameworks import need
from tests.integrations.medical import NOISY, TRUSTED, Scans, loaders, network, parameters_of

need("monai")
need("ignite")

from ignite.engine import Events  # noqa: E402
from ignite.metrics import RunningAverage  # noqa: E402
from monai.engines import SupervisedTrainer  # noqa: E402
from monai.engines.utils import IterationEvents  # noqa: E402
from monai.handlers import (  # noqa: E402
    CheckpointLoader,
    CheckpointSaver,
    MeanDice,
    StatsHandler,
    from_engine,
)
from monai.inferers import SimpleInferer  # noqa: E402
from monai.losses import DiceCELoss, DiceLoss  # noqa: E402
from monai.transforms import AsDiscreted  # noqa: E402

from reweight.integrations.monai import ReweightedTrainer, per_sample  # noqa: E402
from tests.counting import operators_of  # noqa: E402

LOSS = {"to_onehot_y": True, "softmax": True}


def remembering() -> dict[str, Any]:
    # Of "auto" a clock decides how scores are taken, and so how they are rounded.
    scorer = GradientSimilarity("forward") / LastLayerGradient()
    return {"weighting": SampleWeights(NOISY), "trusted_coefficient": 0.1, "scorer": scorer}


def trainer(
    epochs: int = 2,
    *,
    options: Any = None,
    meta: bool = False,
    model: nn.Module | None = None,
    **kwargs: Any,
) -> ReweightedTrainer:
    noisy, trusted = loaders(meta=meta)
    model = network() if model is None else model
    made = ReweightedTrainer(
        torch.device("cpu"),
        epochs,
        noisy,
        model,
        kwargs.pop("optimizer", None) or torch.optim.SGD(model.parameters(), 0.1, momentum=0.9),
        kwargs.pop("loss", None) or DiceCELoss(**LOSS),
        trusted_data_loader=kwargs.pop("trusted_data_loader", trusted),
        reweighter=remembering() if options is None else options,
        **kwargs,
    )
    made.add_event_handler(
        Events.EPOCH_STARTED, lambda engine: noisy.set_epoch(engine.state.epoch - 1)
    )
    made.seen = []  # type: ignore[attr-defined]
    made.add_event_handler(
        IterationEvents.LOSS_COMPLETED,
        lambda engine: made.seen.append(engine.state.reweighted_step),
    )
    return made


def plain_loop(
    epochs: int = 2, *, options: Any = None, group: int = 1, around: Any = nullcontext
) -> tuple[nn.Module, list[Any], MetaReweighter]:
    """The library alone."""
    noisy, trusted = loaders()
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    options = remembering() if options is None else options
    reweighter = MetaReweighter(model, per_sample(DiceCELoss(**LOSS)), **options)
    steps, pairs = [], paired(noisy, trusted)
    model.train()
    for _ in range(epochs):
        for number, (batch, judge) in enumerate(pairs):
            if number % group == 0:
                optimizer.zero_grad()
            pair = (batch["image"], batch["label"]), (judge["image"], judge["label"])
            with around():
                step = reweighter(*pair, ids=batch["id"])
            (step.loss / group).backward()
            if (number + 1) % group == 0 or number + 1 == len(pairs):
                optimizer.step()
            steps.append(step)
    return model, steps, reweighter


def assert_same(engine: ReweightedTrainer, expected: tuple[nn.Module, list[Any], Any]) -> None:
    model, steps, reweighter = expected
    assert len(engine.seen) == len(steps) > 0
    for found, step in zip(engine.seen, steps, strict=True):
        assert torch.equal(found.weights, step.weights)
        assert torch.equal(found.loss, step.loss.detach())
    for left, right in zip(parameters_of(engine.network), parameters_of(model), strict=True):
        assert torch.equal(left, right)
    if isinstance(reweighter.weighting, SampleWeights):
        assert torch.equal(engine.reweighter.weighting.remembered, reweighter.weighting.remembered)


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


def run_with_checkpoints(folder: Path, epochs: int, *, load: str | None = None) -> Any:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    dynamics = TrainingDynamics(NOISY)
    held: dict[str, Any] = {"network": model, "optimizer": optimizer}
    handlers: list[Any] = [CheckpointSaver(str(folder), dict(held), save_interval=1)]
    engine_free = dict(held)
    if load is not None:
        handlers.append(CheckpointLoader(load, engine_free))
    engine = trainer(
        epochs,
        model=model,
        optimizer=optimizer,
        train_handlers=handlers,
        options={**remembering(), "dynamics": dynamics},
    )
    for handler in handlers:  # as MONAI has it: epochs are the engine's own state
        held_by = handler.save_dict if isinstance(handler, CheckpointSaver) else handler.load_dict
        held_by["trainer"] = engine
        assert held_by["reweighting"] is engine.reweighting
    engine.run()
    return engine


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    whole = run_with_checkpoints(tmp_path / "a", 4)
    run_with_checkpoints(tmp_path / "b", 2)
    file = str(tmp_path / "b" / "checkpoint_epoch=2.pt")
    assert "reweighting" in torch.load(file, weights_only=True)
    resumed = run_with_checkpoints(tmp_path / "c", 4, load=file)
    assert len(resumed.seen) == 6
    for left, right in zip(resumed.seen, whole.seen[6:], strict=True):
        assert torch.equal(left.weights, right.weights)
        assert torch.equal(left.trusted_loss, right.trusted_loss)
    for left, right in zip(
        parameters_of(resumed.network), parameters_of(whole.network), strict=True
    ):
        assert torch.equal(left, right)
    assert torch.equal(resumed.reweighter.dynamics.mean_loss, whole.reweighter.dynamics.mean_loss)


def test_savers_of_the_best_model_alone_are_left_as_they_are(tmp_path):
    model = network()
    saver = CheckpointSaver(str(tmp_path), {"net": model}, save_final=True)
    engine = trainer(1, model=model, train_handlers=[saver])
    assert set(saver.save_dict) == {"net"}
    own = {"net": model, "opt": engine.optimizer, "mine": engine.reweighter}
    engine._keep_reweighting(saver := CheckpointSaver(str(tmp_path), own, save_final=True))
    assert set(saver.save_dict) == {"net", "opt", "mine"}


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


def test_several_crops_of_a_scan_have_its_id():
    from monai.data import list_data_collate

    class Crops(Scans):
        def __getitem__(self, place: int) -> Any:
            item = super().__getitem__(place)
            return [
                item,
                {**item, "image": item["image"].flip(-1), "label": item["label"].flip(-1)},
            ]

    noisy, _ = loaders()
    noisy.dataset.__class__ = Crops
    assert noisy.collate_fn is list_data_collate
    engine = trainer(1)
    engine.data_loader = noisy
    engine.run()
    assert len(engine.state.reweighted_step.weights) == 8
    assert (engine.reweighter.weighting.remembered != 0).all()


def test_trusted_batches_are_shuffled_anew_and_have_no_end():
    engine = trainer(4)
    engine.run()
    assert len(engine.seen) == 12 > 2 * -(-TRUSTED // 3)
    assert len({float(step.trusted_loss) for step in engine.seen}) == 12


def test_classification_with_cross_entropy_has_label_issues_and_mended_labels():
    from reweight import MendedLabels

    class Cases(Scans):
        def __getitem__(self, place: int) -> Any:
            return {**super().__getitem__(place), "label": place % 2}

    noisy, trusted = loaders()
    noisy.dataset.__class__ = trusted.dataset.__class__ = Cases
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    dynamics = TrainingDynamics(NOISY)
    engine = ReweightedTrainer(
        torch.device("cpu"),
        3,
        noisy,
        model,
        torch.optim.SGD(model.parameters(), 0.1),
        nn.CrossEntropyLoss(),
        trusted_data_loader=trusted,
        reweighter={"labels": MendedLabels(NOISY, 2), "dynamics": dynamics},
    )
    engine.run()
    issues = dynamics.find_label_issues([place % 2 for place in range(NOISY)])
    assert not issues.parts["mean_margin"].isnan().any()
    assert issues.parts["times_seen"].tolist() == [3] * NOISY


def test_voxels_are_weighed_one_by_one_with_a_loss_of_voxels():
    def each(output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, target[:, 0].long(), reduction="none")

    each.reduction = "none"  # type: ignore[attr-defined]
    engine = trainer(
        1,
        loss=each,
        options={"granularity": "element", "scorer": GradientSimilarity("forward")},
    )
    engine.run()
    assert engine.state.output[0]["weights"].shape == (8, 8)


def test_scores_are_checked_on_batches_of_the_loaders():
    engine = trainer(1, meta=True)
    report = engine.check(next(iter(loaders(meta=True)[0])), next(iter(loaders(meta=True)[1])))
    assert report.ok, report


def test_what_goes_wrong_is_said():
    with pytest.raises(TypeError, match="iteration_update would take the place"):
        trainer(iteration_update=print)
    with pytest.raises(TypeError, match="reweighter options hold 'loss'"):
        trainer(options={"loss": nn.MSELoss()})
    with pytest.raises(TypeError, match=r"reweighter must be a dict of what .* got SampleW"):
        trainer(options=SampleWeights(NOISY))
    with pytest.raises(ValueError, match="one Dice of all samples together"):
        trainer(loss=DiceLoss(batch=True))
    with pytest.raises(TypeError, match="trusted_loader is an iterator"):
        trainer(trusted_data_loader=iter([1]))
    engine = trainer(1, ids_key="row")
    with pytest.raises(ValueError, match=r"no 'row' to take ids from; it has the keys \['id', 'im"):
        engine.run()


def test_a_batch_without_ids_is_refused_where_something_remembers():
    engine = trainer(1)
    engine.data_loader.dataset.ids = False
    with pytest.raises(ValueError, match=r"no 'id' to take ids from; it has the keys \['image'"):
        engine.run()
    with pytest.raises(ValueError, match="remembers something by ids: say where"):
        trainer(ids_key=None)
    with pytest.raises(ValueError, match="remembers something by groups: say where"):
        trainer(options={"weighting": GroupWeights(["a", "b"])})


def test_a_batch_without_ids_will_do_where_nothing_is_remembered():
    engine = trainer(1, options={})
    engine.data_loader.dataset.ids = False
    engine.run()
    assert len(engine.seen) == 3


def test_groups_are_taken_from_the_batch():
    options = {"weighting": GroupWeights(["even", "odd"])}
    engine = trainer(1, options=options, groups_key=lambda batch: batch["id"] % 2)
    engine.run()
    assert set(engine.reweighter.weighting.by_name()) == {"even", "odd"}
    assert (engine.reweighter.weighting.remembered != 0).all()
