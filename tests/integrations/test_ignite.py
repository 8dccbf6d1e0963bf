"""``reweighted_update``: torch-ignite's own engine, without MONAI."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from reweight import GradientSimilarity, LastLayerGradient, MetaReweighter, SampleWeights, paired

pytest.importorskip("ignite", reason="ignite is in the extra monai")

from ignite.engine import Engine, create_supervised_trainer

from reweight.integrations.ignite import reweighted_update

NOISY = 12


def loaders() -> tuple[Any, Any]:
    torch.manual_seed(5)
    noisy = TensorDataset(torch.randn(NOISY, 4), torch.arange(NOISY) % 3, torch.arange(NOISY))
    trusted = TensorDataset(torch.randn(5, 4), torch.arange(5) % 3)
    own = torch.Generator().manual_seed(1)
    return DataLoader(noisy, 4), DataLoader(trusted, 2, shuffle=True, generator=own)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def remembering() -> dict[str, Any]:
    # Of "auto" a clock decides how scores are taken, and so how they are rounded.
    scorer = GradientSimilarity("forward") / LastLayerGradient()
    return {"weighting": SampleWeights(NOISY), "trusted_coefficient": 0.1, "scorer": scorer}


def updating(**options: Any) -> tuple[Any, nn.Module, Any]:
    noisy, trusted = loaders()
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    given = {
        "reweighter": remembering(),
        "ids_key": 2,
    }
    update = reweighted_update(
        model, optimizer, nn.CrossEntropyLoss(), trusted, **{**given, **options}
    )
    return update, model, noisy


def plain_loop(epochs: int, group: int = 1) -> tuple[nn.Module, list[float], Any]:
    noisy, trusted = loaders()
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    reweighter = MetaReweighter(
        model,
        nn.CrossEntropyLoss(reduction="none"),
        **remembering(),
    )
    outputs, pairs, number = [], paired(noisy, trusted), 0
    for _ in range(epochs):
        for (x, y, ids), judge in pairs:
            if number % group == 0:
                optimizer.zero_grad()
            step = reweighter((x, y), tuple(judge), ids=ids)
            (step.loss / group).backward()
            number += 1
            if number % group == 0:
                optimizer.step()
            outputs.append(step.loss.item())
    return model, outputs, reweighter


def run(update: Any, noisy: Any, epochs: int) -> list[float]:
    from ignite.engine import Events

    engine, outputs = Engine(update), []
    engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: outputs.append(float(e.state.output))
    )
    engine.run(noisy, max_epochs=epochs)
    return outputs


def same(left: nn.Module, right: nn.Module) -> bool:
    pairs = zip(left.parameters(), right.parameters(), strict=True)
    return all(torch.allclose(a, b, rtol=1e-6, atol=1e-7) for a, b in pairs)


@pytest.mark.parametrize("group", [1, 2])
def test_outputs_and_parameters_are_those_of_the_plain_loop(group):
    update, model, noisy = updating(gradient_accumulation_steps=group)
    expected, losses, reweighter = plain_loop(3, group)
    assert run(update, noisy, 3) == pytest.approx(losses, rel=1e-6)
    assert same(model, expected)
    torch.testing.assert_close(
        update.reweighter.weighting.remembered, reweighter.weighting.remembered
    )


def test_equal_weights_are_ignites_own_training():
    update, model, _ = updating(
        reweighter={"weighting": lambda context: torch.ones_like(context.losses)}, ids_key=None
    )
    other = network()
    optimizer = torch.optim.SGD(other.parameters(), 0.1, momentum=0.9)
    noisy = [batch[:2] for batch in loaders()[0]]
    theirs = create_supervised_trainer(other, optimizer, nn.CrossEntropyLoss())
    theirs.run(noisy, max_epochs=3)
    run(update, noisy, 3)
    assert same(model, other)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    whole, model, noisy = updating()
    run(whole, noisy, 4)
    first, half, _ = updating()
    run(first, noisy, 2)
    optimizer = first._optimizer.state_dict()
    torch.save([first.state_dict(), half.state_dict(), optimizer], tmp_path / "state.pt")
    second, resumed, _ = updating()
    state, weights, optimizer = torch.load(tmp_path / "state.pt", weights_only=True)
    second.load_state_dict(state)
    resumed.load_state_dict(weights)
    second._optimizer.load_state_dict(optimizer)
    run(second, noisy, 2)
    for left, right in zip(resumed.parameters(), model.parameters(), strict=True):
        assert torch.equal(left, right)
    assert torch.equal(second.step.weights, whole.step.weights)


def test_amp_trains_in_bfloat16():
    kinds: list[torch.dtype] = []

    def look(_x: Any, _y: Any, y_pred: Any, loss: Any) -> float:
        kinds.append(y_pred.dtype)
        return loss.item()

    update, _, noisy = updating(amp_mode="amp", scaler=torch.amp.GradScaler("cpu"))
    update._output_transform = look
    before = update.reweighting.model[0].weight.detach().clone()
    run(update, noisy, 1)
    assert set(kinds) == {torch.bfloat16}
    assert not torch.equal(before, update.reweighting.model[0].weight)


def test_batches_are_prepared_and_outputs_transformed_as_asked():
    update, _, noisy = updating(
        prepare_batch=lambda batch, **_options: (2 * batch[0], batch[1]),
        model_fn=lambda model, x: (model(x), "more"),
        model_transform=lambda output: output[0],
        output_transform=lambda x, y, y_pred, loss: (x, y, y_pred, loss),
        device="cpu",
    )
    engine = Engine(update)
    engine.run(noisy, max_epochs=1)
    x, y, y_pred, loss = engine.state.output
    last = list(noisy)[-1]
    assert torch.equal(x, 2 * last[0])
    assert torch.equal(y, last[1])
    assert y_pred.shape == (4, 3)
    assert loss.dim() == 0


def test_what_goes_wrong_is_said():
    with pytest.raises(ValueError, match="remembers something by ids: say where a batch has them"):
        updating(ids_key=None)
    with pytest.raises(ValueError, match="gradient_accumulation_steps must be at least 1"):
        updating(gradient_accumulation_steps=0)
    with pytest.raises(ValueError, match='amp_mode must be "amp" or None'):
        updating(amp_mode="apex")
    with pytest.raises(ValueError, match='give amp_mode="amp" too'):
        updating(scaler=True)
    with pytest.raises(TypeError, match=r"a batch must begin with \(x, y\), and this is a dict"):
        run(updating()[0], [{"x": torch.ones(2, 4)}], 1)
    update, _, noisy = updating(ids_key=3)
    with pytest.raises(ValueError, match="the batch has no 3 to take ids from; it has 3 parts"):
        run(update, noisy, 1)
    with pytest.raises(ValueError, match="not what state_dict"):
        update.load_state_dict({})


def test_neither_monai_nor_ignite_is_imported_for_it():
    code = (
        "import sys, reweight.integrations.ignite;"
        "sys.exit(bool({'monai', 'ignite'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
