"""Where factors may be rounded to TF32, a part that is lost is told from rounding.

Which no CPU does: here ``short_products`` says so as long as cuDNN is enabled, and what rounds is
an operator that does it by hand.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reweight import GradientSimilarity, MetaReweighter
from reweight._derivative import identity
from tests.comparing import assert_same
from tests.derivative.test_no_fallback_on_trust import Buffer, Kept, Net, cross_entropy, data
from tests.isolation.reference import similarity_on_copies
from tests.problems import float64


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(identity, "short_products", lambda _, **__: torch.backends.cudnn.enabled)
    before = torch.backends.cudnn.enabled
    yield
    assert torch.backends.cudnn.enabled == before


class Rounded(torch.autograd.Function):
    """The identity, whose second derivative is off by three per cent where cuDNN is on."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(_ctx: Any, g: Tensor) -> Any:
        return Back.apply(g)


class Back(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, g: Tensor) -> Tensor:
        return g.clone()

    @staticmethod
    def backward(_ctx: Any, g: Tensor) -> Any:
        return g * (1.03 if torch.backends.cudnn.enabled else 1.0)


def prepared(part, dtype=torch.float32):
    with float64():
        model, noisy, trusted = Net(part, residual=False), data(5), data(4)
    expected = similarity_on_copies(model, cross_entropy, noisy, trusted)
    noisy, trusted = ((x.to(dtype), y) for x, y in (noisy, trusted))
    return model.to(dtype), noisy, trusted, expected


def lost(x):
    return torch.tanh(x) + Buffer.apply(x)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("rounds", [False, True])
@pytest.mark.filterwarnings("ignore:GradientSimilarity")
def test_a_part_that_is_lost_is_not_taken_for_rounding(rounds):
    def part(x):
        return lost(Rounded.apply(x) if rounds else x)

    model, noisy, trusted, expected = prepared(part)
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity())
    step = weigh.score(noisy, trusted)
    assert weigh.state_dict()["objective"]["way"] == "per_sample"
    assert_same(step.scores["gradient_similarity"], expected, 1e-4)


@pytest.mark.usefixtures("short")
def test_rounding_is_not_taken_for_a_part_that_is_lost():
    model, noisy, trusted, expected = prepared(lambda x: torch.tanh(Rounded.apply(x)))
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity())
    with pytest.warns(UserWarning, match="double_backward"):
        weigh.score(noisy, trusted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counts = []
        for _ in range(4):
            before = weigh._objective.passes
            step = weigh.score(noisy, trusted)
            counts.append(weigh._objective.passes - before)
    assert_same(step.scores["gradient_similarity"], expected, 3e-2)
    found = weigh.state_dict()["objective"]
    assert (found["way"], found["parted_by_short_products"]) == ("double_backward", True)
    assert counts[0] > counts[1] == counts[3]  # the first two steps alone look once more


@pytest.mark.usefixtures("short")
def test_a_part_that_begins_to_lose_later_is_found_out_in_a_model_that_nothing_rounds():
    class Whole(torch.autograd.Function):
        lossy = False

        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            return (g.detach() if Whole.lossy else g) * 2 * ctx.saved_tensors[0]

    model, noisy, trusted, expected = prepared(lambda x: torch.tanh(x) + 0.2 * Whole.apply(x))
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity())
    with pytest.warns(UserWarning, match="double_backward"):
        weigh.score(noisy, trusted)
    for _ in range(3):
        weigh.score(noisy, trusted)
    Whole.lossy = True
    with pytest.warns(UserWarning, match="per_sample"):
        step = weigh.score(noisy, trusted)
    assert_same(step.scores["gradient_similarity"], expected, 1e-4)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("method", ["double_backward", "unrolled"])
def test_a_method_asked_for_by_name_is_refused_there_too(method):
    model, noisy, trusted, _ = prepared(lost)
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity(method))
    with pytest.raises(RuntimeError, match="add up"):
        weigh.score(noisy, trusted)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError])
def test_where_a_second_look_does_not_go_the_first_one_counts(error):
    def part(x):
        if not torch.backends.cudnn.enabled:
            raise error("no kernel")
        return torch.tanh(Rounded.apply(x))

    model, noisy, trusted, expected = prepared(part)
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity())
    with pytest.warns(UserWarning, match="double_backward"):
        step = weigh.score(noisy, trusted)
    assert_same(step.scores["gradient_similarity"], expected, 3e-2)


@pytest.mark.filterwarnings("ignore:GradientSimilarity")
@pytest.mark.parametrize(("kind", "way"), [(Kept, "double_backward"), (Buffer, "per_sample")])
def test_behind_convolutions_that_may_be_tf32(kind, way):
    """On a GPU as it is; on a CPU nothing is rounded, and the same is found."""
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 32, 3), nn.Tanh(), nn.Conv2d(32, 32, 3), nn.AvgPool2d(4)]

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Sequential(*convolutions, nn.Flatten()), nn.Linear(288, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.body(x)
            return self.head(h + 0.5 * kind.apply(h))

    model = Model().double()
    noisy, trusted = (
        (torch.randn(n, 3, 16, 16, dtype=torch.float64), torch.randint(3, (n,))) for n in (5, 4)
    )
    expected = similarity_on_copies(model, cross_entropy, noisy, trusted)
    noisy, trusted = ((x.float(), y) for x, y in (noisy, trusted))
    weigh = MetaReweighter(model.float(), forward=cross_entropy, scorer=GradientSimilarity())
    for _ in range(3):
        step = weigh.score(noisy, trusted)
        assert_same(step.scores["gradient_similarity"], expected, 1e-2)
    assert weigh.state_dict()["objective"]["way"] == way


SETTINGS = {
    "nothing": "pass",
    "legacy": "torch.set_float32_matmul_precision('medium')",
    "matrices": "b.cuda.matmul.fp32_precision = 'tf32'",
    "everything": "b.fp32_precision = 'tf32'",
    "mkldnn": "b.mkldnn.matmul.fp32_precision = 'bf16'",
    "none of cuDNN": "b.cudnn.enabled = False",
}
PROGRAM = """
import os, torch
from reweight._isolation.short_products import products_in_full, short_products
b = torch.backends

def state():
    try:
        legacy = torch.get_float32_matmul_precision()
    except RuntimeError:
        legacy = "mixed"
    places = b.cuda.matmul, b.cudnn.conv, b.cudnn.rnn, b.mkldnn.matmul, b.mkldnn.conv, b
    return [legacy, b.cudnn.enabled] + [place.fp32_precision for place in places]

def follows(setting):
    exec(setting)
    b.fp32_precision = "ieee"
    return b.cudnn.conv.fp32_precision == "ieee"

def check(setting, follows):
    exec(setting)
    before = state()
    with products_in_full():
        assert not short_products(["cuda", "cpu"]), (setting, state())
    assert state() == before, (setting, state(), before)
    b.fp32_precision = "ieee"
    assert (b.cudnn.conv.fp32_precision == "ieee") == follows, (setting, "it followed before")
"""


@pytest.mark.skipif(
    not hasattr(torch.backends, "fp32_precision"), reason="PyTorch 2.9 has them first"
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="every setting has a process of its own")
def test_products_are_in_full_for_as_long_as_asked_and_the_settings_are_put_back():
    """What was set once cannot be unset. cuDNN's own follows the general one in some releases."""
    lines = [PROGRAM]
    for setting in SETTINGS.values():
        lines += ["child = os.fork()", f"if not child: os._exit(follows({setting!r}))"]
        lines += ["followed = bool(os.waitpid(child, 0)[1])"]
        lines += ["child = os.fork()", f"if not child: check({setting!r}, followed); os._exit(0)"]
        lines += [f"assert not os.waitpid(child, 0)[1], {setting!r}"]
    order = "\n".join(lines)
    found = subprocess.run(
        [sys.executable, "-c", order], capture_output=True, text=True, check=False
    )
    assert not found.returncode, found.stderr
