"""The three ways to a directional derivative, and the unrolled step, against the slow loop."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from reweight import GradientSimilarity, MetaReweighter
from tests import oracle
from tests.comparing import assert_same
from tests.device import accelerators
from tests.helpers import expected_similarity, reweighter, scored, similarity
from tests.problems import PROBLEMS, Case, classified, cross_entropy, float64, mlp

EXACT = ("forward", "double_backward", "unrolled")


@pytest.mark.parametrize("method", EXACT)
def test_exact_methods_equal_the_loop(case, method):
    expected = expected_similarity(case)
    assert expected.abs().max() > 0
    if not (case.forward_mode if method == "forward" else case.twice):
        with pytest.raises(NotImplementedError):
            similarity(case, method=method)
    else:
        assert_same(similarity(case, method=method), expected, 1e-9)


def test_finite_differences_are_close_to_the_loop(case):
    if any(name.endswith("weight_u") for name, _ in case.model.named_buffers()):
        # The hook moves u and v towards the weight's singular vectors, outside the graph:
        # a difference sees that, a derivative does not. In eval mode they stay.
        case.model.eval()
    assert_same(similarity(case, method="finite_difference"), expected_similarity(case), 1e-4)


def test_auto_is_exact_and_silent_where_forward_mode_works(case):
    with warnings.catch_warnings():
        warnings.simplefilter("error" if case.forward_mode else "ignore", UserWarning)
        actual = similarity(case)
    assert_same(actual, expected_similarity(case), 1e-9)


@pytest.mark.parametrize("method", ["forward", "double_backward", "finite_difference", "unrolled"])
def test_single_precision(method):
    case = PROBLEMS["resnet"]()
    expected = expected_similarity(case)
    case.model.float()
    case.noisy, case.trusted = ((x.float(), y) for x, y in (case.noisy, case.trusted))
    # A difference quotient in float32 keeps about half of its digits.
    tolerance = 3e-2 if method == "finite_difference" else 1e-4
    assert_same(similarity(case, method=method), expected, tolerance)


class Cube(torch.autograd.Function):
    """No forward-mode rule; its backward pass can itself be differentiated."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * grad * x**2


class Cubed(nn.Module):
    def forward(self, x):
        return Cube.apply(x)


def without_a_rule() -> Case:
    with float64():
        model = nn.Sequential(nn.Linear(6, 8), Cubed(), nn.Linear(8, 3))
        return Case(model, last="2", loss=cross_entropy, **classified(6))


def lstm_in_single_precision() -> Case:
    case = PROBLEMS["lstm"]()
    case.model.float()
    case.noisy, case.trusted = ((x.float(), y) for x, y in (case.noisy, case.trusted))
    return case


@pytest.mark.parametrize(
    ("make", "operator", "tolerance"),
    [
        (lstm_in_single_precision, "_cudnn_rnn" if accelerators() else "mkldnn_rnn_layer", 1e-5),
        (PROBLEMS["weight_norm_hook"], "_weight_norm_interface", 1e-9),
        (PROBLEMS["weight_norm_parametrized"], "_weight_norm_interface", 1e-9),
        (without_a_rule, "Cube", 1e-9),
    ],
)
def test_auto_falls_back_once_and_names_the_operator(make, operator, tolerance):
    case = make()
    expected = expected_similarity(case)
    weigh = reweighter(case, scorer=GradientSimilarity())
    with pytest.warns(UserWarning, match=operator) as caught:
        first = weigh.score(case.noisy, case.trusted)
    assert len([w for w in caught if issubclass(w.category, UserWarning)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        second = weigh.score(case.noisy, case.trusted)
    for step in (first, second):
        assert_same(step.scores["gradient_similarity"], expected, tolerance)


def test_double_backward_needs_no_forward_rule():
    case = without_a_rule()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        actual = similarity(case, method="double_backward")
    assert_same(actual, expected_similarity(case), 1e-9)


def test_forward_on_request_does_not_fall_back():
    with pytest.raises((RuntimeError, NotImplementedError)):
        similarity(without_a_rule(), method="forward")


@pytest.mark.parametrize("method", ["forward", "double_backward", "finite_difference"])
def test_any_direction(method):
    """A scorer of the user's own may ask for any direction, and leave parameters out of it."""
    case = mlp()
    name, weight = next(iter(case.model.named_parameters()))
    direction = {name: torch.randn_like(weight)}
    seen = {}

    def own(context):
        seen["value"] = context.directional_derivative(direction, method=method)
        return seen["value"]

    scored(case, own)
    rows = oracle.per_sample_gradients(case.model, case.sample_losses, case.noisy, [weight])
    tolerance = 1e-4 if method == "finite_difference" else 1e-9
    assert_same(seen["value"], rows @ direction[name].reshape(-1), tolerance)


class Constant(nn.Module):
    """What is computed under no_grad, or detached, is a constant of the training step."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        hidden = torch.tanh(self.body(x))
        with torch.no_grad():
            scale = torch.tanh(self.body(x)).norm()
        return self.head(hidden * scale + hidden.detach() ** 2)


@pytest.mark.parametrize("method", ["auto", *EXACT])
def test_what_training_does_not_differentiate_is_not_differentiated(method):
    with float64():
        case = Case(Constant(), last="head", loss=cross_entropy, **classified(6))
    assert_same(similarity(case, method=method), expected_similarity(case), 1e-9)


def test_an_operator_of_the_user_s_own_falls_back_to_double_backward():
    """Forward mode takes what it returns for a constant, without a word."""

    @torch.library.custom_op("reweight_tests::halved_square", mutates_args=())
    def halved_square(x: torch.Tensor) -> torch.Tensor:
        return x * x / 2

    halved_square.register_autograd(
        lambda ctx, grad: grad * ctx.saved_tensors[0],
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),  # noqa: ARG005
    )

    class Model(nn.Module):
        def __init__(self, square):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last, self.square = nn.Linear(4, 5), nn.Linear(5, 3), square

        def forward(self, x):
            return self.last(self.square(self.first(x)))

    batch = (torch.randn(6, 4).double(), torch.randint(3, (6,)))
    loss = nn.CrossEntropyLoss(reduction="none")
    plain = MetaReweighter(Model(lambda x: x * x / 2).double(), loss, scorer=GradientSimilarity())
    custom = MetaReweighter(Model(halved_square).double(), loss, scorer=GradientSimilarity())
    expected = plain.score(batch, batch).scores["gradient_similarity"]
    with pytest.warns(UserWarning, match="halved_square.* has no forward-mode derivative"):
        found = custom.score(batch, batch).scores["gradient_similarity"]
    assert_same(found, expected, 1e-12)
    assert_same(custom(batch, batch).scores["gradient_similarity"], expected, 1e-12)
