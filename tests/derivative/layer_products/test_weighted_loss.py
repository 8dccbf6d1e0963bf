"""`step.loss` is a loss like any other, whatever its gradients are computed from."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reweight import GradientSimilarity, LastLayerGradient, ReweightedStep
from tests.comparing import assert_same
from tests.derivative.layer_products.models import MORE
from tests.helpers import flat_grad, gradients, reweighter
from tests.problems import CLASSES, PROBLEMS, Case, classified, cross_entropy, float64, mlp


def stepped(case: Case, method: str = "layer_products", **options) -> ReweightedStep:
    weigh = reweighter(case, scorer=GradientSimilarity(method), self_check=False, **options)
    return weigh(case.noisy, case.trusted)


def both(name: str = "tied") -> tuple[Case, Case]:
    make = {**PROBLEMS, **MORE}[name]
    return make(), make()


def test_gradients_are_accumulated_in_what_is_there():
    one, other = both()
    for case, method in ((one, "layer_products"), (other, "forward")):
        for _ in range(2):
            stepped(case, method).loss.backward()
    assert_same(flat_grad(one), flat_grad(other), 1e-10)


def test_a_scaled_loss_has_scaled_gradients():
    one, other = both("groupnorm")
    (stepped(one).loss * 1024).backward()
    stepped(other, "forward").loss.backward()
    assert_same(flat_grad(one), flat_grad(other) * 1024, 1e-10)


def test_a_term_of_the_users_own_joins_it():
    one, other = both()
    for case, method in ((one, "layer_products"), (other, "forward")):
        decay = sum(p.square().sum() for p in case.model.parameters())
        (stepped(case, method).loss / 3 + decay).backward()
    assert_same(flat_grad(one), flat_grad(other), 1e-10)


def test_gradients_of_some_parameters_may_be_asked_for():
    one, other = both()
    found = torch.autograd.grad(stepped(one).loss, [one.model.body.weight])
    expected = torch.autograd.grad(stepped(other, "forward").loss, [other.model.body.weight])
    assert_same(found[0], expected[0], 1e-10)
    assert all(p.grad is None for p in one.model.parameters())


def test_hooks_of_parameters_see_one_weighted_gradient_a_backward_pass():
    seen: dict[str, list[Tensor]] = {}
    after: dict[str, int] = {}
    one, other = both()
    for case, method in ((one, "layer_products"), (other, "forward")):
        weight = case.model.body.weight
        loss = stepped(case, method).loss
        weight.register_hook(lambda g, m=method: seen.setdefault(m, []).append(g.clone()))
        weight.register_post_accumulate_grad_hook(
            lambda _, m=method: after.update({m: after.get(m, 0) + 1})
        )
        loss.backward()
    assert len(seen["layer_products"]) == len(seen["forward"]) == 1
    assert after == {"layer_products": 1, "forward": 1}
    assert_same(seen["layer_products"][0], seen["forward"][0], 1e-10)


def test_hooks_of_parameters_that_only_look_are_called_as_often_in_a_whole_training():
    calls = {}
    for case, method in zip(both(), ("layer_products", "forward"), strict=True):
        calls[method] = 0

        def look(_: Tensor, m: str = method) -> None:
            calls[m] += 1

        case.model.body.weight.register_hook(look)
        weigh = reweighter(case, scorer=GradientSimilarity(method))
        for _ in range(4):
            weigh(case.noisy, case.trusted).loss.backward()
    # The identity that the other way proves itself by has the hook called too, by design.
    assert calls["layer_products"] <= calls["forward"]


def test_hooks_that_change_gradients_are_refused():
    case = mlp()
    case.model[0].weight.register_hook(lambda g: 2 * g)
    weigh = reweighter(case, scorer=GradientSimilarity("layer_products"))
    with pytest.raises(RuntimeError, match="hook changes gradients"):
        weigh(case.noisy, case.trusted)


def test_backward_may_run_twice_if_the_graph_is_retained_and_else_not():
    one, other = both("groupnorm")
    loss = stepped(one).loss
    loss.backward(retain_graph=True)
    loss.backward()
    stepped(other, "forward").loss.backward()
    assert_same(flat_grad(one), 2 * flat_grad(other), 1e-10)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_there_is_no_second_derivative_and_it_says_so():
    case = mlp()
    first = torch.autograd.grad(
        stepped(case).loss, list(case.model.parameters()), create_graph=True
    )
    with pytest.raises(RuntimeError, match="first derivative and no second one"):
        sum(g.square().sum() for g in first).backward()


def test_what_the_user_kept_of_the_forward_pass_still_has_its_graph():
    case = mlp()
    kept = []
    case.model.register_forward_hook(lambda *about: kept.append(about[2]))
    loss = stepped(case).loss
    loss.backward()
    before = flat_grad(case)
    kept[-1].square().sum().backward()
    assert not torch.equal(flat_grad(case), before)


def test_inputs_changed_before_backward_are_noticed():
    case = mlp()
    loss = stepped(case).loss
    with torch.no_grad():
        case.noisy[0].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_frozen_and_unused_parameters_keep_no_gradient():
    for name in ("frozen", "unused"):
        one, other = both(name)
        stepped(one).loss.backward()
        stepped(other, "forward").loss.backward()
        expected = gradients(other)
        for key, g in gradients(one).items():
            assert (g is None) == (expected[key] is None), key
        assert_same(flat_grad(one), flat_grad(other), 1e-10)


def test_samples_that_are_not_finite_are_dropped():
    one, other = both("groupnorm")
    steps = []
    for case, method in ((one, "layer_products"), (other, "forward")):
        case.noisy[0][1] = float("nan")
        steps.append(stepped(case, method, on_nonfinite="drop"))
        steps[-1].loss.backward()
    assert steps[0].dropped == (1,)
    assert_same(steps[0].loss, steps[1].loss, 1e-10)
    assert_same(flat_grad(one), flat_grad(other), 1e-10)


def test_a_step_without_a_kept_sample_is_a_differentiable_zero():
    case = mlp()
    step = stepped(case, selector=torch.zeros_like)
    step.loss.backward()
    assert step.kept == 0
    assert step.loss == 0
    assert flat_grad(case).abs().max() == 0


def test_the_default_mixture_reads_the_same_pass():
    one, other = both("groupnorm")
    for case, method in ((one, "layer_products"), (other, "forward")):
        scorer = GradientSimilarity(method) / LastLayerGradient()
        weigh = reweighter(case, scorer=scorer)
        for _ in range(3):
            case.model.zero_grad()
            weigh(case.noisy, case.trusted).loss.backward()
    assert_same(flat_grad(one), flat_grad(other), 1e-10)


@pytest.mark.parametrize("name", ["tied", "odd_uses", "groupnorm", "weight_norm_parametrized"])
def test_a_step_leaves_no_tensor_behind(name):
    case = {**PROBLEMS, **MORE}[name]()
    outputs: list[weakref.ref[Tensor]] = []
    part = next(p for p in case.model.modules() if isinstance(p, nn.Linear))
    part.register_forward_hook(lambda *about: outputs.append(weakref.ref(about[2])))
    weigh = reweighter(case, scorer=GradientSimilarity("layer_products"), self_check=False)
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            step = weigh(case.noisy, case.trusted)
            step.loss.backward()
            del step
        assert outputs
        assert all(ref() is None for ref in outputs)
    finally:
        gc.enable()


class Shared(nn.Module):
    """A sparse embedding that a later, dense use of its weight meets, before or behind it."""

    def __init__(self, *, sparse_first: bool, computed: str) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 4, sparse=True)
        self.head = nn.Linear(4, CLASSES)
        self.sparse_first, self.computed = sparse_first, computed

    def forward(self, x: Tensor) -> Tensor:
        own = self.words.weight
        weight = own.clone() if self.computed else own
        dense = (x @ weight).tanh().tanh()
        looked_in = weight if self.computed == "for both" else own
        looked_up = F.embedding(x.argmax(1), looked_in, sparse=True)
        return self.head(dense * looked_up if self.sparse_first else looked_up * dense)


@pytest.mark.parametrize("sparse_first", [True, False])
@pytest.mark.parametrize("computed", ["", "for the dense use", "for both"])
def test_a_sparse_embedding_may_share_its_weight_with_a_dense_use(sparse_first, computed):
    def make() -> Case:
        with float64():
            model = Shared(sparse_first=sparse_first, computed=computed)
            return Case(model, last="head", loss=cross_entropy, **classified(5))

    one, other = make(), make()
    weigh = reweighter(one, scorer=GradientSimilarity("layer_products"))
    for _ in range(3):  # the first two are proved
        one.model.zero_grad()
        step = weigh(one.noisy, one.trusted)
        step.loss.backward()
    (step.weights * other.losses(other.model, other.noisy)).sum().backward()
    assert_same(flat_grad(one), flat_grad(other), 1e-12)
    assert not one.model.words.weight.grad.is_sparse


def test_the_user_may_forget_the_batch_before_backward():
    one, other = both()
    loss = stepped(one).loss
    one.noisy = None
    loss.backward()
    stepped(other, "forward").loss.backward()
    assert_same(flat_grad(one), flat_grad(other), 1e-10)
