"""Parameters outside the model: in the loss, in front of the model, in variables of a function."""

from __future__ import annotations

import functools
import itertools
import re
import types
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reweight import GradientSimilarity, MetaReweighter, UnknownParametersError
from tests.comparing import assert_same
from tests.oracle import flat
from tests.problems import float64


class Centres(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(3, 3))
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        pull = (output - self.centres[target]).square().sum(1)
        return F.cross_entropy(output / self.temperature, target, reduction="none") + pull


class Trainer:
    """A user's own class, whose method is the forward function."""

    def __init__(self) -> None:
        self.encoder, self.model, self.loss = nn.Linear(6, 5), nn.Linear(5, 3), Centres()
        self.steps = 0

    def losses(self, model: nn.Module, batch: Any) -> Tensor:
        self.steps += 1
        return self.loss(model(torch.tanh(self.encoder(batch[0]))), batch[1])


def compare(weigh: MetaReweighter, losses: Any, modules: list[nn.Module], noisy: Any, trusted: Any):
    """Scores and gradients over the parameters of all modules, against plain autograd."""
    parameters = [p for m in modules for p in m.parameters()]

    def gradient(value: Tensor) -> Tensor:
        return flat(
            torch.autograd.grad(value, parameters, materialize_grads=True, allow_unused=True)
        )

    v = gradient(losses(trusted).mean())
    rows = torch.stack([gradient(losses(noisy)[i]) for i in range(5)])
    for _ in range(3):
        assert_same(weigh.score(noisy, trusted).scores["gradient_similarity"], rows @ v, 1e-9)
        step = weigh(noisy, trusted)
        assert_same(step.scores["gradient_similarity"], rows @ v, 1e-9)
        step.loss.backward()
        found = flat([p.grad for p in parameters])
        assert_same(found, step.weights @ rows + 0.7 * v, 1e-9)
        for p in parameters:
            p.grad = None


@pytest.fixture
def problem():
    with float64():
        noisy, trusted = ((torch.randn(n, 6), torch.randint(3, (n,))) for n in (5, 4))
        return nn.Linear(6, 3), Centres(), noisy, trusted


def options() -> dict[str, Any]:
    return {"scorer": GradientSimilarity(), "trusted_coefficient": 0.7}


@pytest.mark.compatibility("loss", "Parameters of the loss (centres)", "exact")
def test_a_loss_with_parameters(problem):
    model, loss, noisy, trusted = problem
    weigh = MetaReweighter(model, loss, **options())
    compare(weigh, lambda batch: loss(model(batch[0]), batch[1]), [model, loss], noisy, trusted)


@pytest.mark.compatibility("loss", "Modules that forward= brings along", "exact")
@pytest.mark.parametrize("how", ["closure", "partial", "method", "default", "wrapped", "list"])
def test_a_forward_function_that_brings_modules_along(problem, how):
    model, loss, noisy, trusted = problem
    modules: list[nn.Module] = [model, loss]
    if how == "closure":

        def forward(model: nn.Module, batch: Any) -> Tensor:
            return loss(model(batch[0]), batch[1])

    elif how == "partial":

        def given(criterion: nn.Module, model: nn.Module, batch: Any) -> Tensor:
            return criterion(model(batch[0]), batch[1])

        forward = functools.partial(given, loss)
    elif how == "method":
        with float64():
            trainer = Trainer()
        model, modules = trainer.model, [trainer.encoder, trainer.model, trainer.loss]
        forward = trainer.losses
    elif how == "default":

        def forward(model: nn.Module, batch: Any, criterion: nn.Module = loss) -> Tensor:
            return criterion(model(batch[0]), batch[1])

    elif how == "wrapped":

        def inner(model: nn.Module, batch: Any) -> Tensor:
            return loss(model(batch[0]), batch[1])

        @functools.wraps(inner)
        def forward(*args: Any) -> Tensor:
            return inner(*args)

    else:
        losses = [loss]

        def forward(model: nn.Module, batch: Any) -> Tensor:
            return losses[0](model(batch[0]), batch[1])

    weigh = MetaReweighter(model, forward=forward, **options())
    compare(weigh, lambda batch: forward(model, batch), modules, noisy, trusted)


def test_their_names_can_be_selected(problem):
    model, loss, noisy, trusted = problem
    scorer = GradientSimilarity(parameters="loss.*")
    found = MetaReweighter(model, loss, scorer=scorer).score(noisy, trusted)
    parameters = list(loss.parameters())

    def gradient(value: Tensor) -> Tensor:
        return flat(torch.autograd.grad(value, parameters))

    v = gradient(loss(model(trusted[0]), trusted[1]).mean())
    expected = [gradient(loss(model(noisy[0]), noisy[1])[i]) @ v for i in range(5)]
    assert_same(found.scores["gradient_similarity"], torch.stack(expected), 1e-9)


def test_a_model_in_a_hidden_list(problem):
    """Lists of modules are not registered; what is in them is trained all the same."""
    _, _, noisy, trusted = problem

    class Hiding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(5, 3)
            self.hidden = [nn.Linear(6, 5)]

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.tanh(self.hidden[0](x)))

    with float64():
        model = Hiding()

    def losses(batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none")

    weigh = MetaReweighter(model, nn.CrossEntropyLoss(reduction="none"), **options())
    compare(weigh, losses, [model, model.hidden[0]], noisy, trusted)


@pytest.mark.compatibility("loss", "A trained encoder in front of the model", "refused")
def test_an_encoder_in_front_of_the_model_is_refused(problem, record_property):
    model, loss, noisy, trusted = problem
    with float64():
        encoder = nn.Linear(6, 6)
    weigh = MetaReweighter(model, loss, **options())
    with pytest.raises(UnknownParametersError, match="belongs into the model") as error:
        weigh((encoder(noisy[0]), noisy[1]), (encoder(trusted[0]), trusted[1]))
    record_property("reason", re.sub(r"of shape .*?:", "of shape …:", str(error.value)))
    # a frozen one, or one whose output is cut off, is an input like any other
    weigh((encoder(noisy[0]).detach(), noisy[1]), (encoder(trusted[0]).detach(), trusted[1]))


class Slotted:
    __slots__ = ("temperature",)


@pytest.mark.parametrize("parameter", [True, False])
@pytest.mark.parametrize(
    "how", ["closure", "slots", "object", "list", "tuple", "partial", "default", "method", "loss"]
)
def test_a_trained_tensor_that_no_module_holds(problem, how, parameter):
    model, _, noisy, trusted = problem
    own = torch.full((), 1.3, dtype=torch.float64, requires_grad=True)
    own = nn.Parameter(own.detach()) if parameter else own

    def divided(model: nn.Module, batch: Any, by: Tensor) -> Tensor:
        return F.cross_entropy(model(batch[0]) / by, batch[1], reduction="none")

    slotted, record = Slotted(), types.SimpleNamespace(temperature=own)
    slotted.temperature = own
    listed, fixed = [own], (own,)

    class Owner:
        def __init__(self) -> None:
            self.temperature = own

        def forward(self, model: nn.Module, batch: Any) -> Tensor:
            return divided(model, batch, self.temperature)

        def __call__(self, model: nn.Module, batch: Any) -> Tensor:
            return self.forward(model, batch)

    forward = {
        "closure": lambda model, batch: divided(model, batch, own),
        "slots": lambda model, batch: divided(model, batch, slotted.temperature),
        "object": lambda model, batch: divided(model, batch, record.temperature),
        "list": lambda model, batch: divided(model, batch, listed[0]),
        "tuple": lambda model, batch: divided(model, batch, fixed[0]),
        "partial": functools.partial(divided, by=own),
        "default": lambda model, batch, by=own: divided(model, batch, by),
        "method": Owner().forward,
        "loss": Owner(),
    }[how]
    weigh = MetaReweighter(model, forward=forward, **options())
    held = nn.ParameterList() if parameter else types.SimpleNamespace(parameters=lambda: [own])
    if parameter:
        held.append(own)
    compare(weigh, lambda batch: forward(model, batch), [model, held], noisy, trusted)


@pytest.mark.compatibility("loss", "A trained tensor that nobody can find", "refused")
def test_a_trained_tensor_that_cannot_be_found_is_refused(problem, record_property):
    model, _, noisy, trusted = problem
    own = torch.ones((), dtype=torch.float64, requires_grad=True)
    temperatures = (tensor for tensor in itertools.repeat(own))
    del own

    def forward(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]) / next(temperatures), batch[1], reduction="none")

    weigh = MetaReweighter(model, forward=forward, **options())
    with pytest.raises(
        UnknownParametersError, match="neither the model nor the loss holds"
    ) as error:
        weigh(noisy, trusted)
    record_property("reason", re.sub(r"of shape .*?:", "of shape …:", str(error.value)))


@pytest.mark.compatibility("loss", "A loss that differentiates by its inputs", "exact")
def test_leaves_that_a_pass_makes_itself_are_no_parameters(problem):
    """Adversarial noise, or the inputs that a physics-informed loss differentiates by."""
    model, _, noisy, trusted = problem

    def forward(model: nn.Module, batch: Any) -> Tensor:
        x = batch[0].detach().clone().requires_grad_()
        output = model(x)
        (slope,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
        return F.cross_entropy(output, batch[1], reduction="none") + slope.square().sum(1)

    scorer = GradientSimilarity("double_backward")
    weigh = MetaReweighter(model, forward=forward, scorer=scorer, trusted_coefficient=0.7)
    compare(weigh, lambda batch: forward(model, batch), [model], noisy, trusted)


@pytest.mark.compatibility("framework", "A LightningModule's own loss as forward=", "exact")
def test_a_module_that_wraps_the_model_brings_the_rest_along(problem):
    """A LightningModule's own loss and metrics, its method being the forward function."""
    _, _, noisy, trusted = problem

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.criterion = nn.Linear(6, 3), Centres()

        def losses(self, model: nn.Module, batch: Any) -> Tensor:
            return self.criterion(model(batch[0]), batch[1])

    with float64():
        whole = Whole()
    weigh = MetaReweighter(whole.model, forward=whole.losses, **options())
    compare(weigh, lambda batch: whole.losses(whole.model, batch), [whole], noisy, trusted)


@pytest.mark.compatibility("memory", "Lazy parameters that no pass has made yet", "refused")
def test_lazy_parameters_are_refused_in_words(record_property):
    weigh = MetaReweighter(nn.LazyLinear(3), nn.CrossEntropyLoss(reduction="none"))
    with pytest.raises(ValueError, match="Run one batch through the model") as error:
        weigh(*(((torch.randn(n, 6), torch.randint(3, (n,)))) for n in (5, 4)))
    record_property("reason", str(error.value))
