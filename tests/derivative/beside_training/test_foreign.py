"""Code of others in the pass: followed where it can be seen through, and else left alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reweight._derivative.beside_training import NotFollowed, TangentMode
from reweight._torch_internals import function_modes
from tests.derivative.beside_training.observing import (
    EITHER,
    FOLLOWED,
    REFUSED,
    observe,
    observe_module,
)
from tests.derivative.beside_training.test_rules import rand
from tests.device import autocast


class Twice(torch.autograd.Function):
    """What its backward pass says has nothing to do with what it computes."""

    @staticmethod
    def forward(_ctx, x):
        return x.clone()

    @staticmethod
    def backward(_ctx, grad):
        return grad * 2


class TwiceWithJvp(Twice):
    @staticmethod
    def jvp(_ctx, tangent):
        return tangent * 2


class InPlace(torch.autograd.Function):
    """Says that it changes its input, and does not."""

    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(_ctx, grad):
        return grad * 3


def in_place(x: Tensor) -> Tensor:
    h = x * 2
    InPlace.apply(h)
    return h * x


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        return grad * w.square(), grad * x


def penalty(w: Tensor) -> Tensor:
    x = torch.ones_like(w, requires_grad=True)
    (gradient,) = torch.autograd.grad(Product.apply(x, w).sum(), x, create_graph=True)
    return gradient.square()


@pytest.mark.parametrize("program", [Twice.apply, TwiceWithJvp.apply, in_place, penalty])
def test_custom_functions(program):
    observe(lambda x: program(x.sin() if program is not penalty else x), rand(3), expect=REFUSED)


@pytest.mark.parametrize(
    "program",
    [
        lambda x: torch.func.grad(lambda z: (z * x).sin().sum())(x * 2),
        lambda x: torch.func.vjp(lambda z: (z * x).sin(), x * 2)[1](x)[0],
        lambda x: torch.func.jvp(lambda z: (z * x).sin(), (x * 2,), (x,))[1],
        lambda x: torch.func.vmap(lambda z: (z * x).sin().sum())(x.expand(2, 3)),
        lambda x: torch.func.vmap(F.dropout, randomness="different")(x.expand(2, 3)),
        lambda x: torch.func.jacrev(lambda z: (z * x).sin())(x * 2),
        lambda x: torch.func.jacfwd(lambda z: (z * x).sin())(x * 2),
        lambda x: torch.autograd.grad((x**3).sum(), x, create_graph=True)[0],
        lambda x: torch.autograd.grad((x * 2).sin().sum(), x, retain_graph=True)[0] * x,
        lambda x: torch.autograd.functional.jacobian(lambda z: z.sin() * x, x, create_graph=True),
    ],
)
def test_derivatives_inside_the_pass(program):
    observe(program, rand(3), expect=EITHER)


def test_a_backward_pass_inside_the_pass():
    def program(x: Tensor) -> Tensor:
        leaf = torch.ones(3, dtype=x.dtype, requires_grad=True)
        (leaf * x.detach()).sum().backward()
        return leaf.grad * x

    observe(program, rand(3))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_scripted_modules():
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), torch.jit.script(nn.Linear(4, 2)))

    observe_module(make, rand(2, 3), expect=REFUSED)


@pytest.mark.parametrize(("backend", "expect"), [("eager", EITHER), ("aot_eager", REFUSED)])
@pytest.mark.parametrize("first", ["alone", "observed"])
def test_compiled_functions(first, backend, expect):
    """Also where the compiler traces the observer."""
    compiled = None

    def program(x: Tensor) -> Tensor:
        nonlocal compiled
        if compiled is None:
            compiled = torch.compile(lambda z: F.relu(z * z).sin(), backend=backend)
        return compiled(x * 2) * x

    if first == "observed":
        x = rand(3).requires_grad_()
        with TangentMode([(x, torch.ones_like(x))]):
            program(x)
    observe(program, rand(3), expect=expect)


def test_what_is_compiled_meets_no_mode():
    """A compiler would trace it along."""
    compiled = torch.compile(lambda z: z.sin(), backend="eager")

    def program(x: Tensor) -> Tensor:
        assert not function_modes()
        return compiled(x) * x

    observe(program, rand(3), expect=REFUSED)


@torch.library.custom_op("reweight_tests::tripled", mutates_args=())
def tripled(x: Tensor) -> Tensor:
    return x * 3


@torch.library.custom_op("reweight_tests::triple", mutates_args=("x",))
def triple(x: Tensor) -> None:
    x.mul_(3)


tripled.register_autograd(lambda _ctx, grad: grad * 3)


def test_custom_operators():
    """Forward mode takes what they compute for constants, without a word."""
    observe(lambda x: tripled(x * 2) * x, rand(3), expect=REFUSED)

    def writes(x: Tensor) -> Tensor:
        buffer = torch.ones(2, 3, dtype=x.dtype)
        triple(buffer)
        return buffer * x

    observe(writes, rand(3))


class Doubling(Tensor):
    """A weight that stands for twice itself."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            if func is F.linear:
                args = (args[0], args[1].as_subclass(Tensor) * 2, *args[2:])
            out = func(*args, **(kwargs or {}))
            return out.as_subclass(cls) if func is Tensor.detach else out


class Plain(Tensor):
    """Adds nothing."""


@pytest.mark.parametrize(("kind", "expect"), [(Doubling, REFUSED), (Plain, FOLLOWED)])
def test_parameters_of_a_subclass(kind, expect):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(2, 3).as_subclass(kind))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight).as_subclass(Tensor) * 1

    out = EITHER if expect == FOLLOWED else REFUSED
    observe_module(Model, rand(2, 3), expect=out)


def test_images_of_monai():
    monai = pytest.importorskip("monai.data")
    image = monai.MetaTensor(rand(2, 1, 4, 4), meta={"spacing": 2.0})
    observe_module(
        lambda: nn.Conv2d(1, 2, 3), image, output=lambda out: out.as_tensor(), expect=EITHER
    )
    observe_module(lambda: nn.Conv2d(1, 2, 3), image.as_tensor())


def test_autocast_inside_the_pass():
    def program(x: Tensor, w: Tensor) -> Tensor:
        with autocast():
            return (F.linear(x.float(), w.float()) @ w.float()).float().double()

    observe(program, rand(2, 3), rand(3, 3, seed=1), tolerance=5e-2)


def test_state_kept_between_steps():
    kept = rand(3).requires_grad_() * 2
    observe(lambda x: x * 2 + kept.detach() * len(kept) * x, rand(3))

    state = rand(3).requires_grad_() * 2
    x = rand(3).requires_grad_()
    with TangentMode([(x, torch.ones_like(x))]) as mode:
        out = state * x
    with pytest.raises(NotFollowed):
        mode.tangent_of(out)
