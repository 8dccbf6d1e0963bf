"""Lightning trains as the plain loop does, to the bit, and what can go wrong is said or mended."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reweight import GradientSimilarity, GroupWeights, paired
from tests.integrations import lightning_modules as m
from tests.integrations.every_third import EveryThird
from tests.integrations.lightning_modules import Classifier, plain_loop, same, same_steps, trainer

ReweightedModule = m.ReweightedModule
HARMFUL = {"selector": torch.zeros_like, "trusted_coefficient": 0.0}  # as if nothing agreed


CSVLogger = m.CSVLogger


@pytest.mark.compatibility("framework", "Lightning, automatic optimisation", "as the plain loop")
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


@pytest.mark.compatibility("framework", "Lightning, accumulated gradients", "as the plain loop")
@pytest.mark.parametrize("kind", [Classifier, Manual])
def test_accumulated_gradients_are_those_of_the_plain_loop(kind):
    model = kind()
    given = {"accumulate_grad_batches": 2} if kind is Classifier else {}
    trainer(**given).fit(model, m.loaders())
    twin, steps = plain_loop(m.pairs(2), accumulate=2)
    same(model.net, twin)
    same_steps(model.taken, steps)


@pytest.mark.compatibility("framework", "Lightning, bf16-mixed", "as the plain loop")
def test_bf16_mixed_is_the_plain_loop_under_autocast():
    model = Classifier()
    trainer(precision="bf16-mixed").fit(model, m.loaders())
    twin, steps = plain_loop(m.pairs(2), autocast=True)
    same(model.net, twin)
    same_steps(model.taken, steps)
    assert not torch.equal(model.net[0].weight, plain_loop(m.pairs(2))[0][0].weight)


@pytest.mark.compatibility("framework", "Lightning, torch.compile(module)", "as the plain loop")
def test_a_compiled_module_trains_compiled_and_scores_eagerly():
    runs = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:  # noqa: ARG001
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


@pytest.mark.compatibility(
    "framework", "Lightning, torch.compile(module, fullgraph=True)", "refused"
)
def test_a_module_compiled_as_one_graph_is_told_what_to_do():
    compiled = torch.compile(Classifier(), backend="eager", fullgraph=True)
    with pytest.raises(Exception, match="compile the network inside the module"):
        trainer().fit(compiled, m.loaders())
    torch.compiler.reset()


@pytest.mark.parametrize("kind", [Classifier, Manual])
def test_where_nothing_is_kept_no_parameter_moves(kind):
    """Weight decay and momentum would move them."""
    model = kind(**HARMFUL)
    given = {"gradient_clip_val": 1.0} if kind is Classifier else {}
    trainer(**given).fit(model, m.loaders())
    assert all(step.kept == 0 for step in model.taken)
    for mine, before in zip(model.net.parameters(), m.network().parameters(), strict=True):
        assert torch.equal(mine, before)


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

    def training_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
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


class ByGroups(Classifier):
    """Batches that are mappings tell ids and groups by themselves."""

    def batch_ids(self, noisy: Any) -> Any:
        return ReweightedModule.batch_ids(self, noisy)

    def sample_losses(self, batch: Any) -> Tensor:
        if isinstance(batch, dict):
            batch = batch["x"], batch["y"]
        return m.losses(self, batch)


class Named(torch.utils.data.Dataset[Any]):
    def __init__(self) -> None:
        self.data = m.data()[0]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        x, y, i = self.data[index]
        return {"x": x, "y": y, "ids": i, "groups": index % 4}


def test_ids_and_groups_of_a_mapping_reach_the_reweighter():
    weighting = m.SampleWeights(m.COUNT) + GroupWeights(4)
    model = ByGroups(weighting=weighting)
    noisy = torch.utils.data.DataLoader(Named(), 6)
    trainer(max_epochs=1).fit(model, {"noisy": noisy, "trusted": m.loaders()["trusted"]})
    twin = m.network()
    optimizer = m.sgd(twin)
    plain = m.MetaReweighter(twin, forward=m.losses, **{**m.options(), "weighting": weighting})
    for (x, y, ids), trusted in m.pairs(1):
        step = plain((x, y), trusted, ids=ids, groups=ids % 4)
        step.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    same(model.net, twin)


class Lookahead(Classifier):
    def configure_reweighter(self) -> dict[str, Any]:
        return {"scorer": GradientSimilarity("forward", lookahead=self.optimizers())}


def test_the_optimiser_of_the_fit_may_be_the_lookahead():
    model = Lookahead()
    trainer(max_epochs=1).fit(model, m.loaders())
    twin = m.network()
    optimizer = m.sgd(twin)
    scorer = GradientSimilarity("forward", lookahead=optimizer)
    plain = m.MetaReweighter(twin, forward=m.losses, scorer=scorer)
    for noisy, trusted in m.pairs(1):
        plain(noisy, trusted).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    same(model.net, twin)


@pytest.mark.parametrize("kind", [Classifier, Manual])
def test_the_summary_is_logged_once_every_so_many_steps(tmp_path, kind):
    model, logger = kind(), CSVLogger(tmp_path)
    asked = []
    model.log_dict = lambda *args, **kwargs: (
        asked.append(args) or kind.log_dict(model, *args, **kwargs)
    )
    trainer(logger=logger, log_every_n_steps=3).fit(model, m.loaders())
    with Path(logger.log_dir, "metrics.csv").open() as file:
        logged = [row for row in csv.DictReader(file) if row["reweight/loss"]]
    expected = [float(step.loss) for step in (model.taken[2], model.taken[5])]
    assert [float(row["reweight/loss"]) for row in logged] == pytest.approx(expected)
    assert [float(row["reweight/kept"]) for row in logged] == [1.0, 1.0]
    assert len(asked) == 2


class Validated(Classifier):
    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.seen: list[tuple[bool, bool, float]] = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        loss = m.losses(self, batch).mean()
        self.seen.append((self.training, torch.is_grad_enabled(), float(loss)))


def test_validation_is_left_alone():
    model = Validated()
    fit = trainer(num_sanity_val_steps=1)
    fit.fit(model, m.loaders(), m.loaders()["trusted"])
    same(model.net, plain_loop(m.pairs(2))[0])
    assert len(model.taken) == 8
    assert [flags for *flags, _ in model.seen] == [[False, False]] * 7
    model.seen.clear()
    fit.validate(model, m.loaders()["trusted"], verbose=False)
    with torch.no_grad():
        model.net.eval()
        expected = [float(m.losses(model, b).mean()) for b in m.loaders()["trusted"]]
    assert [loss for *_, loss in model.seen] == expected
    assert len(model.taken) == 8


ALONE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "lightning":
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Hidden())
from tests.compatibility.frameworks import need
need("torchmetrics")
from reweight.integrations.lightning import ReweightedModule
import pytorch_lightning as L, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
class Model(ReweightedModule, L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)
    def sample_losses(self, batch):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1], reduction="none")
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
loader = lambda: DataLoader(TensorDataset(torch.randn(8, 3), torch.arange(8) % 2), 4)
model = Model()
before = model.net.weight.clone()
L.Trainer(accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False).fit(
    model, {"noisy": loader(), "trusted": loader()})
assert not torch.equal(model.net.weight, before)
assert "lightning" not in sys.modules
print("trained", model.reweighter.scorer)
"""


def test_it_works_where_pytorch_lightning_alone_is_installed():
    pytest.importorskip("pytorch_lightning", reason="pytorch_lightning is not installed")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALONE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "trained" in done.stdout
