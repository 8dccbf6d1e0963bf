"""What a user can do wrong in Lightning is an error that says how to mend it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from reweight import Uniform
from tests.integrations import lightning_modules as m
from tests.integrations.lightning_modules import Classifier, trainer


def test_the_mixin_named_last_is_refused_when_the_class_is_made():
    with pytest.raises(TypeError, match=r"Write class Model\(ReweightedModule, LightningModule\)"):

        class Model(m.LightningModule, m.ReweightedModule):
            pass


class WithoutLosses(m.ReweightedModule, m.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = m.network()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return m.sgd(self)


def test_a_module_without_sample_losses_is_told_what_to_write():
    with pytest.raises(NotImplementedError, match="WithoutLosses needs sample_losses"):
        trainer().fit(WithoutLosses(), m.loaders())


class WithoutCallback(Classifier):
    def configure_callbacks(self) -> list[Any]:
        return []


def test_callbacks_that_leave_the_reweighter_out_are_refused():
    with pytest.raises(RuntimeError, match=r"super\(\)\.configure_callbacks"):
        trainer().fit(WithoutCallback(), m.loaders())


def test_there_is_no_reweighter_before_a_fit():
    with pytest.raises(RuntimeError, match=r"no reweighter before trainer\.fit"):
        _ = Classifier().reweighter


def notes(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", []))


def test_a_loader_of_noisy_batches_alone_is_refused_where_scores_need_trusted_ones():
    with pytest.raises(ValueError, match="judges by a trusted batch") as error:
        trainer().fit(Classifier(), m.loaders()["noisy"])
    assert 'trainer.fit(model, {"noisy": noisy_loader' in notes(error.value)


def test_a_loader_of_noisy_batches_alone_does_where_no_score_needs_trusted_ones():
    model = Classifier(scorer=Uniform(), weighting=None, trusted_coefficient=0.0)
    trainer().fit(model, m.loaders()["noisy"])
    assert not torch.equal(model.net[0].weight, m.network()[0].weight)


class WithoutIds(Classifier):
    def batch_ids(self, noisy: Any) -> None:  # noqa: ARG002
        return None


def test_missing_ids_are_asked_for_by_the_name_of_the_method():
    with pytest.raises(ValueError, match="remembers is by ids") as error:
        trainer().fit(WithoutIds(), m.loaders())
    assert "batch_ids(noisy)" in notes(error.value)


def test_a_trusted_loader_that_ends_first_is_refused():
    loaders = m.CombinedLoader({**m.loaders(), "noisy": m.loaders()["noisy"]}, mode="max_size")
    with pytest.raises(ValueError, match=r'the trusted loader has ended.*mode="max_size_cycle"'):
        trainer().fit(Classifier(), loaders)


class Unweighted(m.LightningModule):
    """What a Classifier was before."""

    def __init__(self) -> None:
        super().__init__()
        self.net = m.network()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:  # noqa: ARG002
        return m.losses(self.net, batch).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return m.sgd(self)


def test_a_checkpoint_that_knows_nothing_of_weights_gives_a_warning(tmp_path):
    first = trainer(max_epochs=1)
    first.fit(Unweighted(), m.loaders()["noisy"])
    first.save_checkpoint(tmp_path / "plain.ckpt")
    with pytest.warns(UserWarning, match="no state of a reweighter"):
        trainer(max_epochs=2).fit(Classifier(), m.loaders(), ckpt_path=tmp_path / "plain.ckpt")
