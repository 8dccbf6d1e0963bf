"""A term of a loss whose gradient is known: its value, its lifetime, and where it ends."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

from reweight import MetaReweighter, Uniform
from reweight._trusted.loss_term import known_gradient_term
from tests import oracle
from tests.comparing import assert_same
from tests.problems import PROBLEMS, float64, mlp

AGAIN = "backward through the graph a second time"
NO_SECOND = "no second one"


def known(count=3, seed=0):
    stream = torch.Generator(torch.get_default_device()).manual_seed(seed)
    parameters = {
        f"p{k}": nn.Parameter(torch.randn(k + 2, 3, generator=stream)) for k in range(count)
    }
    gradients = {name: torch.randn(p.shape, generator=stream) for name, p in parameters.items()}
    return parameters, gradients


def sparse(shape, rows):
    values = torch.arange(1.0, len(rows) * shape[1] + 1).reshape(len(rows), shape[1])
    return torch.sparse_coo_tensor(torch.tensor([rows]), values, shape, check_invariants=True)


def test_backward_gives_the_known_gradient_times_what_the_term_counts():
    parameters, gradients = known()
    term = known_gradient_term(torch.tensor(7.0), parameters, gradients)
    assert float(term.detach()) == 7
    (2 * term + 3 * term).backward()
    for name, p in parameters.items():
        assert_same(p.grad, 5 * gradients[name], 1e-6)


def test_parameters_without_a_known_gradient_get_none():
    parameters, gradients = known()
    del gradients["p1"]
    known_gradient_term(torch.tensor(7.0), parameters, gradients).backward()
    assert parameters["p1"].grad is None
    assert torch.equal(parameters["p2"].grad, gradients["p2"])


def test_with_no_known_gradient_it_is_a_differentiable_number():
    parameters, _ = known()
    known_gradient_term(torch.tensor(7.0), parameters, {}).backward()
    assert not parameters["p0"].grad.any()


# Its lifetime ------------------------------------------------------------------------------------


def graph(term, gradients):
    """References to the gradients, that no longer keep them."""
    references = [weakref.ref(gradient) for gradient in gradients.values()]
    gradients.clear()
    return term, references


@pytest.mark.parametrize("how", ["backward", "grad"])
def test_backward_frees_the_known_gradient(how):
    parameters, gradients = known()
    term = known_gradient_term(torch.tensor(7.0), parameters, gradients)
    loss = term + sum(p.square().sum() for p in parameters.values())
    term, references = graph(term, gradients)
    assert all(reference() is not None for reference in references)
    gc.disable()
    try:
        if how == "backward":
            loss.backward()
        else:
            torch.autograd.grad(loss, list(parameters.values()))
        assert all(reference() is None for reference in references)
    finally:
        gc.enable()
    assert loss.grad_fn is not None


def test_dropping_the_loss_frees_it_without_a_backward_pass():
    parameters, gradients = known()
    term = known_gradient_term(torch.tensor(7.0), parameters, gradients)
    term, references = graph(term, gradients)
    gc.disable()
    try:
        del term
        assert all(reference() is None for reference in references)
    finally:
        gc.enable()


def test_a_second_backward_raises_the_usual_error():
    parameters, gradients = known()
    term = known_gradient_term(torch.tensor(7.0), parameters, gradients)
    term.backward()
    with pytest.raises(RuntimeError, match=AGAIN):
        term.backward()


def test_a_kept_graph_serves_twice_and_no_more():
    parameters, gradients = known()
    term = known_gradient_term(torch.tensor(7.0), parameters, gradients)
    term.backward(retain_graph=True)
    term.backward()
    assert_same(parameters["p0"].grad, 2 * gradients["p0"], 1e-6)
    with pytest.raises(RuntimeError, match=AGAIN):
        term.backward()


def test_parameters_may_move_before_backward():
    """As after an optimiser step between two backward passes; the known gradient is a number."""
    parameters, gradients = known()
    term = known_gradient_term(torch.tensor(7.0), parameters, gradients)
    with torch.no_grad():
        for p in parameters.values():
            p.add_(1)
    term.backward()
    assert torch.equal(parameters["p0"].grad, gradients["p0"])


# The second derivative ---------------------------------------------------------------------------


def penalties():
    return {
        "squared norm": lambda found: sum(g.square().sum() for g in found),
        "one gradient": lambda found: found[1].square().sum(),
        "along a direction": lambda found: sum((g * torch.ones_like(g)).sum() for g in found),
    }


@pytest.mark.parametrize("how", ["grad", "backward"])
@pytest.mark.parametrize("penalty", penalties())
@pytest.mark.parametrize("among", ["alone", "a loss"])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_second_derivative_raises(among, penalty, how, scaled):
    parameters, gradients = known()
    term = known_gradient_term(torch.tensor(7.0), parameters, gradients)
    leaves = list(parameters.values())
    loss = term if among == "alone" else term + sum(p.pow(3).sum() for p in leaves)
    if scaled:
        loss = loss * torch.tensor(2.0, requires_grad=True)
    found = torch.autograd.grad(loss, leaves, create_graph=True)
    value = penalties()[penalty](found)
    differentiate = {
        "grad": lambda: torch.autograd.grad(value, leaves, allow_unused=True),
        "backward": value.backward,
    }
    with pytest.raises(RuntimeError, match=NO_SECOND):
        differentiate[how]()


def test_backward_with_a_graph_raises_at_the_second_derivative():
    parameters, gradients = known()
    term = known_gradient_term(torch.tensor(7.0), parameters, gradients)
    with pytest.warns(UserWarning, match="create_graph=True"):
        term.backward(create_graph=True)
    assert torch.equal(parameters["p0"].grad, gradients["p0"])
    with pytest.raises(RuntimeError, match=NO_SECOND):
        parameters["p0"].grad.square().sum().backward()


def test_a_graph_that_nobody_differentiates_again_is_no_error():
    parameters, gradients = known()
    term = known_gradient_term(torch.tensor(7.0), parameters, gradients)
    found = torch.autograd.grad(term, list(parameters.values()), create_graph=True)
    assert all(map(torch.equal, found, gradients.values()))


@pytest.mark.parametrize("name", ["mlp", "batchnorm_train"])
def test_a_gradient_penalty_on_a_step_raises_under_a_trusted_term_and_only_there(name):
    case = PROBLEMS[name]()
    leaves = list(oracle.trainable(case.model).values())
    for beta in (0.0, 0.5):
        weigh = MetaReweighter(case.model, case.loss, scorer=Uniform(), trusted_coefficient=beta)
        loss = weigh(case.noisy, case.trusted).loss
        found = torch.autograd.grad(loss, leaves, create_graph=True)
        penalty = sum(g.square().sum() for g in found)
        if beta == 0:
            second = torch.autograd.grad(penalty, leaves, allow_unused=True)
            assert any(bool(g.any()) for g in second if g is not None)
        else:
            with pytest.raises(RuntimeError, match=NO_SECOND):
                penalty.backward()


def test_a_step_frees_its_trusted_gradient_at_backward():
    """Though the step, and so the loss, is kept: for a log, say."""
    case = mlp()
    weigh = MetaReweighter(case.model, case.loss, trusted_coefficient=0.5)

    def held(node, seen):
        if node is None or node in seen:
            return 0
        seen.add(node)
        own = 0
        if type(node).__name__ == "_KnownGradientBackward":
            try:
                own = sum(g.numel() for g in node.saved_tensors)
            except RuntimeError:
                own = 0
        return own + sum(held(following, seen) for following, _ in node.next_functions)

    step = weigh(case.noisy, case.trusted)
    assert held(step.loss.grad_fn, set()) == sum(p.numel() for p in case.model.parameters())
    step.loss.backward()
    assert held(step.loss.grad_fn, set()) == 0


# Sparse gradients --------------------------------------------------------------------------------


def test_a_sparse_gradient_stays_sparse():
    p = nn.Parameter(torch.zeros(5, 3))
    gradient = sparse((5, 3), [0, 3])
    term = known_gradient_term(torch.tensor(1.0), {"p": p}, {"p": gradient})
    term.backward(retain_graph=True)
    (0.5 * term).backward()
    assert p.grad.is_sparse
    assert_same(p.grad.to_dense(), 1.5 * gradient.to_dense(), 1e-6)
    with pytest.raises(RuntimeError, match=AGAIN):
        term.backward()


def test_rows_named_twice_add_up():
    p = nn.Parameter(torch.zeros(5, 3))
    gradient = sparse((5, 3), [2, 2, 4])
    known_gradient_term(torch.tensor(1.0), {"p": p}, {"p": gradient}).backward()
    assert_same(p.grad.to_dense(), gradient.to_dense(), 1e-6)


def test_sparse_joins_the_sparse_gradient_of_an_embedding():
    embedding = nn.Embedding(6, 3, sparse=True)
    gradient = sparse((6, 3), [0, 5])
    term = known_gradient_term(torch.tensor(1.0), {"w": embedding.weight}, {"w": gradient})
    loss = embedding(torch.tensor([1, 0])).pow(2).sum() / 2 + term
    loss.backward()
    expected = gradient.to_dense()
    expected[:2] += embedding.weight[:2].detach()
    assert embedding.weight.grad.is_sparse
    assert_same(embedding.weight.grad.to_dense(), expected, 1e-6)
    torch.optim.SparseAdam([embedding.weight]).step()


def test_sparse_and_dense_beside_each_other():
    wide, narrow = nn.Parameter(torch.zeros(5, 3)), nn.Parameter(torch.zeros(2))
    gradients = {"wide": sparse((5, 3), [1]), "narrow": torch.ones(2)}
    known_gradient_term(torch.tensor(1.0), {"wide": wide, "narrow": narrow}, gradients).backward()
    assert wide.grad.is_sparse
    assert not narrow.grad.is_sparse


def test_a_second_derivative_of_a_sparse_one_raises():
    p = nn.Parameter(torch.zeros(5, 3))
    term = known_gradient_term(torch.tensor(1.0), {"p": p}, {"p": sparse((5, 3), [0, 3])})
    (found,) = torch.autograd.grad(term, p, create_graph=True)
    with pytest.raises(RuntimeError, match=NO_SECOND):
        torch.autograd.grad(found.to_dense().square().sum(), p)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 4, sparse=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.embedding(x)).mean(1))


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.SparseAdam])
def test_an_embedding_with_sparse_gradients_keeps_them_under_a_trusted_term(optimizer):
    with float64():
        model = Words()
        noisy = torch.randint(4, (6, 5)), torch.randint(3, (6,))
        trusted = torch.randint(3, 7, (4, 5)), torch.randint(3, (4,))
    loss = nn.CrossEntropyLoss(reduction="none")
    weigh = MetaReweighter(model, loss, scorer=Uniform(), trusted_coefficient=1.0)
    weigh(noisy, trusted).loss.backward()
    grad = model.embedding.weight.grad
    assert grad.is_sparse
    found = grad.to_dense()
    model.zero_grad()
    (loss(model(noisy[0]), noisy[1]).mean() + loss(model(trusted[0]), trusted[1]).mean()).backward()
    assert_same(found, model.embedding.weight.grad.to_dense(), 1e-12)
    before = model.embedding.weight.detach().clone()
    optimizer([model.embedding.weight], lr=0.1).step()
    untouched = ~found.any(1)
    assert bool(untouched.any())
    assert torch.equal(model.embedding.weight[untouched], before[untouched])
