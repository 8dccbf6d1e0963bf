"""What a Lightning run remembers goes on from a checkpoint, to the bit, and from fit to fit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from reweight import paired
from tests.integrations import lightning_modules as m
from tests.integrations.lightning_modules import Classifier, same, same_steps, trainer

ModelCheckpoint = m.ModelCheckpoint


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
    torch.load(tmp_path / "last.ckpt", weights_only=True)  # nothing in it but plain containers
    random = torch.get_rng_state()
    torch.manual_seed(99)
    second = trainer(max_epochs=4)
    loader = made()
    torch.set_rng_state(random)
    second.fit(resumed, loader, ckpt_path=tmp_path / "last.ckpt")
    same(resumed.net, whole.net)
    same_steps(resumed.taken, whole.taken[len(stopped.taken) :])
    mine, other = (r.reweighter.weighting.state_dict() for r in (resumed, whole))
    torch.testing.assert_close(mine, other, rtol=0, atol=0)


@pytest.mark.parametrize("stop", [4, 6], ids=["after its last batch", "in its middle"])
def test_a_run_resumed_within_an_epoch_is_the_one_that_never_stopped(tmp_path, stop):
    def made() -> Any:
        return paired(*m.loaders(shuffle=True).values())

    whole, stopped, resumed = Classifier(), Classifier(), Classifier()
    torch.manual_seed(5)
    trainer(max_epochs=3).fit(whole, made())
    torch.manual_seed(5)
    saves = ModelCheckpoint(tmp_path, "last", every_n_train_steps=stop)
    trainer(enable_checkpointing=True, callbacks=[saves], max_steps=stop, max_epochs=3).fit(
        stopped, made()
    )
    random = torch.get_rng_state()
    second, loader = trainer(max_epochs=3), made()
    torch.set_rng_state(random)
    second.fit(resumed, loader, ckpt_path=tmp_path / "last.ckpt")
    assert (len(stopped.taken), len(resumed.taken)) == (stop, 12 - stop)
    same(resumed.net, whole.net)
    same_steps(resumed.taken, whole.taken[stop:])


class Remembering(Classifier):
    """Notes what is remembered when a fit begins."""

    def on_train_start(self) -> None:
        self.at_start = copy.deepcopy(self.reweighter.weighting.state_dict())


def test_a_second_fit_goes_on_from_what_is_remembered_and_a_new_trainer_does_not():
    model, fit = Remembering(), trainer(max_epochs=1)
    fit.fit(model, m.loaders())
    fresh = model.at_start
    remembered = copy.deepcopy(model.reweighter.weighting.state_dict())
    fit.fit_loop.max_epochs = 2
    fit.fit(model, m.loaders())
    torch.testing.assert_close(model.at_start, remembered)
    assert len(model.taken) == 8
    trainer(max_epochs=1).fit(model, m.loaders())
    torch.testing.assert_close(model.at_start, fresh)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(fresh, remembered)


def test_testing_an_earlier_checkpoint_forgets_nothing(tmp_path):
    model, fit = WithATest(), trainer(max_epochs=1)
    fit.fit(model, m.loaders())
    fit.save_checkpoint(tmp_path / "early.ckpt")
    early = copy.deepcopy(model.reweighter.weighting.state_dict())
    fit.fit_loop.max_epochs = 3
    fit.fit(model, m.loaders())
    late = copy.deepcopy(model.reweighter.weighting.state_dict())
    with pytest.raises(AssertionError):
        torch.testing.assert_close(early, late)
    fit.test(model, m.loaders()["trusted"], ckpt_path=tmp_path / "early.ckpt")
    torch.testing.assert_close(model.reweighter.weighting.state_dict(), late)


class WithATest(Classifier):
    def test_step(self, batch: Any, batch_idx: int) -> None:
        pass
