"""Optimisers inside the wrappers that frameworks put around them."""

from __future__ import annotations

import os

import pytest
import torch
from torch import distributed

from reweight import GradientSimilarity
from reweight.lookahead import LiveOptimizer, as_lookahead
from tests import oracle
from tests.comparing import assert_same
from tests.helpers import reweighter, similarity
from tests.problems import mlp


class Prepared(torch.optim.Optimizer):
    """As accelerate's: an optimiser by inheritance, and in all it does the one it holds."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    @property
    def param_groups(self):
        return self.optimizer.param_groups

    @property
    def state(self):
        return self.optimizer.state

    def step(self):
        self.optimizer.step()

    def zero_grad(self):
        self.optimizer.zero_grad()


class Held:
    """No optimiser itself."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    def step(self):
        self.optimizer.step()

    def zero_grad(self):
        self.optimizer.zero_grad()


class Distributed(Prepared):
    """As those of torch.distributed: the other name."""

    def __init__(self, optim):
        self.optim = optim

    @property
    def optimizer(self):
        return self.optim


class Scaled(torch.optim.SGD):
    """As Lightning's: made a subclass of what it holds."""

    def __init__(self, optimizer):
        self.__dict__ = {k: v for k, v in optimizer.__dict__.items() if k != "step"}
        self.optimizer = optimizer

    def step(self):
        self.optimizer.step()


WRAPPERS = {
    "prepared": Prepared,
    "held": Held,
    "distributed": Distributed,
    "lightning": Scaled,
    "nested": lambda optimizer: Prepared(Held(Prepared(optimizer))),
    "nested_otherwise": lambda optimizer: Held(Prepared(Distributed(optimizer))),
}
LIVE = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.3),
}


@pytest.mark.parametrize("optimizer", LIVE)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_optimizer_inside_is_followed(wrapper, optimizer):
    case = mlp()
    inside = LIVE[optimizer](case.model.parameters())
    wrapped = WRAPPERS[wrapper](inside)
    for _ in range(3):
        inside.zero_grad()
        case.sample_losses(case.model, case.noisy).mean().backward()
        wrapped.step()
    expected = oracle.live_meta_gradient(
        case.model, case.sample_losses, case.noisy, case.trusted, inside
    )
    assert_same(similarity(case, lookahead=wrapped), expected, 1e-9)
    assert_same(similarity(case, lookahead=LiveOptimizer(wrapped)), expected, 1e-9)


def test_what_is_set_on_the_wrapper_later_counts():
    case = mlp()
    wrapped = Prepared(LIVE["sgd"](case.model.parameters()))
    weigh = reweighter(case, scorer=GradientSimilarity(lookahead=wrapped))
    first = weigh.score(case.noisy, case.trusted).scores["gradient_similarity"]
    wrapped.param_groups[0]["lr"] = 0.7
    second = weigh.score(case.noisy, case.trusted).scores["gradient_similarity"]
    assert float((first - second).abs().max()) > 1e-6


@pytest.mark.parametrize("wrapper", ["prepared", "held", "nested"])
def test_a_wrapper_around_another_rule_is_refused_by_both_names(wrapper):
    wrapped = WRAPPERS[wrapper](torch.optim.RMSprop(mlp().model.parameters()))
    with pytest.raises(TypeError, match=r"which holds a RMSprop.*torchopt\.rmsprop"):
        GradientSimilarity(lookahead=wrapped)


def test_a_bare_optimizer_of_another_rule_says_that_a_wrapper_should_hold_one():
    with pytest.raises(TypeError, match=r"got RMSprop\. .*pass the optimiser that it holds"):
        GradientSimilarity(lookahead=torch.optim.RMSprop(mlp().model.parameters()))


def test_a_subclass_is_told_apart_from_a_wrapper():
    class Clipped(torch.optim.AdamW):
        def step(self, closure=None):
            return super().step(closure)

    with pytest.raises(
        TypeError, match=r"got Clipped\. A subclass may step by another rule.*AdamW"
    ):
        GradientSimilarity(lookahead=Clipped(mlp().model.parameters()))


def test_wrappers_that_hold_nothing_but_each_other_are_refused():
    one, other = Held(None), Held(None)
    one.optimizer, other.optimizer = other, one
    for wrapped in (one, Held(None), Prepared(None)):
        with pytest.raises(TypeError, match="must be"):
            GradientSimilarity(lookahead=wrapped)


@pytest.mark.parametrize("inside", [torch.optim.SGD, torch.optim.RMSprop])
def test_a_look_ahead_of_ones_own_that_holds_an_optimizer_is_not_unwrapped(inside):
    class Own(Held):
        def start(self, _parameters):
            return None

        def update(self, parameters, gradients, state):
            return {name: p - 2 * gradients[name] for name, p in parameters.items()}, state

    own = Own(inside(mlp().model.parameters(), lr=0.1))
    assert as_lookahead(own) is own


def test_a_wrapper_that_holds_a_part_is_refused():
    class Sharded(Prepared):
        def __init__(self, optimizer, everything):
            super().__init__(optimizer)
            self.everything = everything

        @property
        def param_groups(self):
            return [{"params": self.everything}]

    everything = list(mlp().model.parameters())
    wrapped = Sharded(torch.optim.Adam(everything[:2]), everything)
    for given in (wrapped, Held(wrapped), Prepared(wrapped)):
        with pytest.raises(ValueError, match=r"2 parameter\(s\).*other ranks"):
            GradientSimilarity(lookahead=given)


@pytest.mark.skipif(not distributed.is_available(), reason="built without distributed")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_zero_redundancy_on_one_rank(tmp_path, monkeypatch):
    from torch.distributed.optim import ZeroRedundancyOptimizer

    monkeypatch.setenv("GLOO_SOCKET_IFNAME", os.environ.get("GLOO_SOCKET_IFNAME", "lo"))
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1
    )
    try:
        case = mlp()
        whole = ZeroRedundancyOptimizer(case.model.parameters(), torch.optim.AdamW, lr=0.01)
        for _ in range(2):
            whole.zero_grad()
            case.sample_losses(case.model, case.noisy).mean().backward()
            whole.step()
        expected = oracle.live_meta_gradient(
            case.model, case.sample_losses, case.noisy, case.trusted, whole.optim
        )
        assert_same(similarity(case, lookahead=whole), expected, 1e-9)
    finally:
        distributed.destroy_process_group()


def test_accelerate_itself():
    accelerate = pytest.importorskip("accelerate")
    case = mlp()
    inside = torch.optim.AdamW(case.model.parameters())
    assert as_lookahead(accelerate.Accelerator(cpu=True).prepare(inside)).optimizer is inside
