"""What a model does to its batch reaches no other pass, and what it may be made of."""

from __future__ import annotations

import copy
import pickle
from collections import UserDict, defaultdict, namedtuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reweight import GradientSimilarity, MetaReweighter, NonFiniteError
from reweight._isolation.batches import fresh
from reweight._step.leave_out import narrow
from tests.comparing import assert_same
from tests.helpers import reweighter
from tests.problems import mlp


@pytest.mark.compatibility("batch", "Batches that forward takes apart (dict.pop)", "exact")
def test_a_batch_that_the_forward_consumes():
    case = mlp()
    inputs, target = case.noisy

    def consuming(model, batch):
        return case.loss(model(batch["x"].div_(2)), batch.pop("y"))

    expected = reweighter(case)((inputs / 2, target), (case.trusted[0] / 2, case.trusted[1]))
    batch = {"x": inputs.clone(), "y": target}
    trusted = {"x": case.trusted[0].clone(), "y": case.trusted[1]}
    step = MetaReweighter(case.model, forward=consuming)(batch, trusted)
    assert_same(step.weights, expected.weights, 1e-12)
    assert_same(batch["x"], inputs / 2, 1e-12)  # the training pass alone, and once


Pair = namedtuple("Pair", ["x", "y"])


@pytest.mark.parametrize(
    "kind",
    [
        lambda x, y: {"x": x, "y": y},
        lambda x, y: UserDict(x=x, y=y),
        lambda x, y: defaultdict(list, x=x, y=y),
        lambda x, y: [{"x": x}, (y, None, "a name")],
        Pair,
    ],
    ids=["dict", "UserDict", "defaultdict", "nested", "namedtuple"],
)
def test_containers_of_any_kind_are_copied_and_narrowed(kind):
    x, y = torch.arange(6.0).reshape(3, 2), torch.arange(3)
    kept = torch.tensor([True, False, True])
    batch = kind(x, y)
    for result, index in ((fresh(batch), slice(None)), (narrow(batch, kept), kept)):
        expected = kind(x[index], y[index])
        assert type(result) is type(batch)
        assert str(result) == str(expected)
    for copied, own in zip(fresh([x, y]), (x, y), strict=True):
        assert copied.data_ptr() != own.data_ptr()


def test_scorers_see_the_same_masks_before_and_after_the_training_pass():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.5), nn.Linear(16, 3)).double()
    case = mlp()

    def before(context):
        return context.directional_derivative(context.trusted_gradient())

    def after(context):
        assert context.losses.isfinite().all()
        return before(context)

    found = []
    for scorer in (before, after):
        torch.manual_seed(3)
        weigh = MetaReweighter(model, case.loss, scorer=scorer)
        found.append(next(iter(weigh(case.noisy, case.trusted).scores.values())))
    assert_same(*found, 1e-12)


def test_a_sparse_embedding():
    model = nn.Sequential(nn.Embedding(9, 4, sparse=True), nn.Flatten(), nn.Linear(12, 3)).double()
    dense = copy.deepcopy(model)
    dense[0].sparse = False
    torch.manual_seed(2)
    noisy, trusted = [(torch.randint(9, (5, 3)), torch.randint(3, (5,))) for _ in range(2)]
    loss = nn.CrossEntropyLoss(reduction="none")
    steps = [
        MetaReweighter(each, loss, trusted_coefficient=0.5)(noisy, trusted)
        for each in (model, dense)
    ]
    assert_same(steps[0].weights, steps[1].weights, 1e-12)


def flattened(model, batch):
    logits = model(batch[0]).flatten(0, 1)
    return F.cross_entropy(logits, batch[1].flatten(), reduction="none")


@pytest.mark.filterwarnings("ignore:the loss returned 20 value")
@pytest.mark.parametrize("which", ["noisy", "trusted"])
def test_dropping_needs_one_row_of_losses_per_sample(which):
    good = (torch.randn(4, 5, 8), torch.randint(3, (4, 5)))
    bad = (good[0].clone(), good[1])
    bad[0][1, 2, 3] = float("nan")
    weigh = MetaReweighter(nn.Linear(8, 3), forward=flattened, on_nonfinite="drop")
    with pytest.raises(ValueError, match="20 losses"):
        weigh(*((bad, good) if which == "noisy" else (good, bad)))


def test_a_trusted_gradient_that_is_not_finite_is_not_blamed_on_a_sample():
    torch.manual_seed(0)
    model = nn.Linear(6, 3).double()

    def rooted(model, batch):
        return (model(batch[0]) * batch[1]).square().sum(dim=1).sqrt()

    noisy = (torch.randn(4, 6).double(), torch.ones(4, 1).double())
    trusted = (torch.randn(4, 6).double(), torch.zeros(4, 1).double())  # √0: infinite slope
    for policy in ("raise", "drop"):
        weigh = MetaReweighter(
            model, forward=rooted, scorer=GradientSimilarity(), on_nonfinite=policy
        )
        with pytest.raises(FloatingPointError, match="trusted losses are finite"):
            weigh(noisy, trusted)


def test_it_can_be_copied_and_pickled():
    case = mlp()
    weigh = MetaReweighter(case.model, nn.MSELoss(reduction="none"))
    for other in (copy.deepcopy(weigh), pickle.loads(pickle.dumps(weigh))):
        assert other.model is not case.model
        assert repr(other) == repr(weigh)


def test_the_error_survives_a_process_boundary():
    error = NonFiniteError([1], "loss", "noisy", 4)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert (again.indices, again.what, again.batch, again.count) == ([1], "loss", "noisy", 4)
