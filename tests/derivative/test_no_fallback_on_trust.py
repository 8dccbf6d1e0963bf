"""A way to take derivatives that loses a part of them is found out, and left for the next."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributions import Beta, Dirichlet, Gamma, kl_divergence
from torch.nn import functional as F

from reweight import GradientSimilarity, MetaReweighter
from tests.comparing import assert_same
from tests.isolation.reference import similarity_on_copies
from tests.problems import float64


def _slope(x: Tensor) -> Tensor:
    s = x.sigmoid()
    return s + x * s * (1 - s)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * _slope(ctx.saved_tensors[0])


class Buffer(Once):
    """As kernels are wrapped: the backward pass fills a buffer."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        out = torch.empty_like(g)
        with torch.no_grad():
            torch.mul(g, _slope(ctx.saved_tensors[0]), out=out)
        return out


class Numpy(Once):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        slope = _slope(ctx.saved_tensors[0].detach()).cpu().numpy()
        return torch.from_numpy(np.multiply(g.detach().cpu().numpy(), slope)).to(g)


class Detached(Once):
    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.detach() * _slope(ctx.saved_tensors[0])


class Kept(torch.autograd.Function):
    """Saves what forward mode never sees again: its jvp is missing, its backward is right."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.x = x
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * _slope(ctx.x)


class WrongJvp(Once):
    """A forward-mode rule that is wrong, such as a user may well have written."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * x.sigmoid()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * _slope(ctx.saved_tensors[0])

    @staticmethod
    def jvp(_ctx: Any, t: Tensor) -> Tensor:
        return 0.9 * t


class Net(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor], residual: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 3)
        self.function, self.residual = function, residual

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return self.b(self.function(h) + (h if self.residual else 0))


FUNCTIONS = {c.__name__: c for c in (Once, Buffer, Numpy, Detached, Kept, WrongJvp)}


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


def data(count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 6), torch.randint(3, (count,))


@pytest.mark.filterwarnings("ignore:GradientSimilarity")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_backward_pass_without_a_graph(name, residual, training):
    with float64():
        model, noisy, trusted = Net(FUNCTIONS[name].apply, residual), data(5), data(4)
    expected = similarity_on_copies(model, cross_entropy, noisy, trusted)
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity())
    for _ in range(4):  # beyond the steps that every model is checked in
        step = (weigh if training else weigh.score)(noisy, trusted)
        assert_same(step.scores["gradient_similarity"], expected, 1e-9)


@pytest.mark.parametrize("method", ["double_backward", "unrolled"])
@pytest.mark.parametrize("name", ["Once", "Buffer", "Numpy", "Detached"])
def test_a_method_asked_for_by_name_is_exact_or_refused(name, method):
    with float64():
        model, noisy, trusted = Net(FUNCTIONS[name].apply, True), data(5), data(4)
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity(method))
    with pytest.raises((RuntimeError, NotImplementedError), match=r"add up|differentiate twice"):
        weigh.score(noisy, trusted)


def test_a_part_that_begins_to_lose_later_is_found_out_wherever_a_fallback_is_taken():
    """The fallback proves itself in every step, not in the first ones alone."""
    with float64():
        model, noisy, trusted = Net(Kept.apply, True), data(5), data(4)
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity())
    with pytest.warns(UserWarning, match=r"forward-mode.*double_backward"):
        weigh.score(noisy, trusted)
    for _ in range(4):
        weigh.score(noisy, trusted)
    model.function = Buffer.apply
    expected = similarity_on_copies(model, cross_entropy, noisy, trusted)
    with pytest.warns(UserWarning, match="per_sample"):
        step = weigh.score(noisy, trusted)
    assert_same(step.scores["gradient_similarity"], expected, 1e-9)


def beta(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    output = model(batch[0])
    q = Beta(output[:, 0].exp(), output[:, 1].exp())
    return (q.rsample() - 0.3) ** 2 + kl_divergence(q, Beta(torch.ones(()), torch.ones(())))


def rsample(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    output = model(batch[0])
    return (Beta(output[:, 0].exp(), output[:, 1].exp()).rsample() - 0.3) ** 2


def dirichlet(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    output = model(batch[0])
    return (Dirichlet(output.exp()).rsample() - 0.3).square().sum(1) + output.square().sum(1)


def gamma(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    output = model(batch[0])
    return (Gamma(output[:, 0].exp(), output[:, 1].exp()).rsample() - 0.3) ** 2


@pytest.mark.filterwarnings("ignore:GradientSimilarity")
@pytest.mark.parametrize("losses", [beta, rsample, dirichlet, gamma])
def test_pytorch_s_own_reparametrised_samples(losses):
    with float64():
        model, noisy, trusted = nn.Linear(6, 3), data(5), data(4)
        expected = similarity_on_copies(model, losses, noisy, trusted)
        weigh = MetaReweighter(model, forward=losses, scorer=GradientSimilarity())
        for _ in range(3):
            step = weigh.score(noisy, trusted)
            assert_same(step.scores["gradient_similarity"], expected, 1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_is_right_adds_up_in_every_precision(dtype):
    """No false alarm: not from rounding, nor where the samples' scores cancel."""
    for seed in range(10):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(6, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU())
        model = model.append(nn.Linear(64, 3)).to(dtype)
        noisy, trusted = data(16), data(8)
        noisy, trusted = ((x.to(dtype) * 10, y) for x, y in (noisy, trusted))
        MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity("forward")).score(
            noisy, trusted
        )


def test_it_can_be_turned_off_and_costs_one_pass_in_the_first_steps():
    with float64():
        model, noisy, judges = nn.Sequential(nn.Linear(6, 3)), data(5), data(4)
    sizes: list[int] = []
    model.register_forward_hook(lambda _m, _a, output: sizes.append(len(output)))
    for self_check, expected in ((True, [2, 2, 1, 1]), (False, [1, 1, 1, 1])):
        weigh = MetaReweighter(
            model,
            forward=cross_entropy,
            scorer=GradientSimilarity("forward"),
            self_check=self_check,
        )
        counts, trusted = [], []
        for _ in expected:
            sizes.clear()
            weigh(noisy, judges)
            counts.append(sizes.count(5))
            trusted.append(sizes.count(4))
        assert counts == expected
        # before the first one, a pass that records nothing finds out what passes write into
        assert trusted == ([2, 1, 1, 1] if self_check else [1, 1, 1, 1])


@pytest.mark.filterwarnings("ignore:GradientSimilarity")
@pytest.mark.parametrize("share", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("name", ["Buffer", "Numpy", "Detached"])
def test_a_small_part_that_is_lost_is_found_out_in_float32(name, share):
    def part(x):
        return torch.tanh(x) + share * FUNCTIONS[name].apply(x)

    with float64():
        model, noisy, trusted = Net(part, residual=False), data(5), data(4)
    expected = similarity_on_copies(model, cross_entropy, noisy, trusted)
    model, noisy, trusted = model.float(), (noisy[0].float(), noisy[1]), trusted
    trusted = trusted[0].float(), trusted[1]
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity())
    step = weigh.score(noisy, trusted)
    assert_same(step.scores["gradient_similarity"].double(), expected, 5e-4)


@pytest.mark.filterwarnings("ignore:GradientSimilarity")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_is_marked_once_differentiable_is_found_out_in_any_precision(dtype):
    torch.manual_seed(0)
    model = Net(lambda x: torch.tanh(x) + 0.1 * Once.apply(x), residual=False).to(dtype)
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity())
    noisy, trusted = ((x.to(dtype), y) for x, y in (data(5), data(4)))
    weigh.score(noisy, trusted)
    assert weigh.state_dict()["objective"]["way"] == "per_sample"


SETTINGS = {
    "nothing": "pass",
    "legacy": "torch.set_float32_matmul_precision('high')",
    "everything": "torch.backends.fp32_precision = 'tf32'",
    "products": "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "cuDNN": "torch.backends.cudnn.fp32_precision = 'ieee'",
    "mkldnn": "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
}


@pytest.mark.skipif(
    not hasattr(torch.backends, "fp32_precision"), reason="PyTorch 2.9 has them first"
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="every setting has a process of its own")
def test_no_way_of_asking_for_short_products_ends_a_step():
    """PyTorch raises where flags of the old kind are read after one of the new was set."""
    lines = ["import os, torch", "from reweight._isolation.short_products import short_products"]
    for setting in SETTINGS.values():
        check = "assert not short_products([]); short_products(['cuda', 'cpu'])"
        lines += ["child = os.fork()", f"if not child: {setting}; {check}; os._exit(0)"]
        lines += [f"assert not os.waitpid(child, 0)[1], {setting!r}"]
    order = [sys.executable, "-c", "\n".join(lines)]
    found = subprocess.run(order, capture_output=True, text=True, check=False)
    assert not found.returncode, found.stderr
