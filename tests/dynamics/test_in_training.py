"""The dynamics of real trainings, by a model of the tests' own beside them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reweight import (
    GradientSimilarity,
    MetaReweighter,
    SampleWeights,
    TrainingDynamics,
    Uniform,
)

CLASSES, SAMPLES = 3, 12


def data(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(SAMPLES, 4, generator=generator, device="cpu")
    y = torch.arange(SAMPLES, device="cpu") % CLASSES
    device = torch.get_default_device()
    return x.to(device), y.to(device)


def net(*outputs):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, *(outputs or (CLASSES,))))


def batches(steps):
    return [torch.tensor([(5 * n + k) % SAMPLES for k in range(4)]) for n in range(steps)]


def train(reweighter, steps=6, trusted=True):
    x, y = data()
    optimizer = torch.optim.SGD(reweighter.model.parameters(), lr=0.3)
    found = []
    for ids in batches(steps):
        before = copy.deepcopy(reweighter.model).double()
        step = reweighter((x[ids], y[ids]), (x, y) if trusted else None, ids=ids)
        found.append((before, ids, step))
        step.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return found


def test_a_plain_training_without_a_trusted_batch_has_losses_margins_and_probabilities():
    dynamics = TrainingDynamics(SAMPLES + 1)
    loss = nn.CrossEntropyLoss(reduction="none")
    reweighter = MetaReweighter(net(), loss, scorer=Uniform(), dynamics=dynamics)
    x, y = data()
    steps = train(reweighter, trusted=False)
    for row in range(SAMPLES):
        losses, margins, chances = [], [], []
        for model, ids, _ in steps:
            if row in ids.tolist():
                logits = model(x[row].double())
                losses.append(F.cross_entropy(logits, y[row]))
                others = [v for k, v in enumerate(logits) if k != int(y[row])]
                margins.append(logits[y[row]] - max(others))
                chances.append(logits.softmax(0))
        assert int(dynamics.times_seen[row]) == len(losses) > 0
        for got, wanted in (
            (dynamics.mean_loss, losses),
            (dynamics.mean_margin, margins),
            (dynamics.mean_probabilities, chances),
        ):
            mean = torch.stack(wanted).mean(dim=0)
            torch.testing.assert_close(got[row].double(), mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(dynamics.mean_weight[:SAMPLES], torch.ones(SAMPLES))
    assert dynamics.similarity.isnan().all()
    assert dynamics.given_labels.tolist() == [*y.tolist(), -1]
    assert dynamics.mean_loss[SAMPLES].isnan()


def test_weights_and_similarities_are_those_of_the_steps():
    dynamics = TrainingDynamics(SAMPLES)
    reweighter = MetaReweighter(
        net(),
        nn.CrossEntropyLoss(reduction="none"),
        scorer=GradientSimilarity(),
        weighting=SampleWeights(SAMPLES),
        dynamics=dynamics,
    )
    steps = train(reweighter)
    for row in range(SAMPLES):
        weights, z = [], []
        for _, ids, step in steps:
            if row in ids.tolist():
                place = ids.tolist().index(row)
                weights.append(float(step.weights[place]) * 4)
                scores = step.scores["gradient_similarity"].double()
                z.append(float((scores / scores.square().mean().sqrt())[place].clamp(-3, 3)))
        assert float(dynamics.mean_weight[row]) == pytest.approx(sum(weights) / len(weights))
        assert float(dynamics.last_weight[row]) == pytest.approx(weights[-1])
        assert float(dynamics.similarity[row]) == pytest.approx(sum(z), rel=1e-4, abs=1e-5)
        negative = sum(v < 0 for v in z) / len(z)
        assert float(dynamics.share_negative[row]) == pytest.approx(negative)


def test_score_teaches_nothing():
    dynamics = TrainingDynamics(SAMPLES)
    loss = nn.CrossEntropyLoss(reduction="none")
    reweighter = MetaReweighter(net(), loss, scorer=Uniform(), dynamics=dynamics)
    x, y = data()
    reweighter.score((x, y), ids=torch.arange(SAMPLES))
    assert int(dynamics.times_seen.sum()) == 0


def test_a_forward_of_ones_own_leaves_the_losses_alone_to_judge_by():
    dynamics = TrainingDynamics(SAMPLES)

    def forward(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none")

    reweighter = MetaReweighter(net(), forward=forward, scorer=Uniform(), dynamics=dynamics)
    train(reweighter, trusted=False)
    assert dynamics.mean_margin.isnan().all()
    assert dynamics.mean_probabilities is None
    issues = dynamics.find_label_issues()
    worst = dynamics.mean_loss.nan_to_num(-1).argmax()
    assert int(issues.id[0]) == int(worst)
    assert set(issues.given_label.tolist()) == {-1}


@pytest.mark.parametrize("by_element", [False, True])
def test_elements_are_averaged_by_sample_or_told_apart(by_element):
    generator = torch.Generator().manual_seed(0)
    device = torch.get_default_device()
    x = torch.randn(4, 1, 6, generator=generator, device="cpu").to(device)
    y = (torch.arange(24, device="cpu").reshape(4, 6) % 2).to(device)
    y[0, 0] = -100
    model = nn.Conv1d(1, 2, 3, padding=1)
    dynamics = TrainingDynamics(24 if by_element else 4)
    reweighter = MetaReweighter(
        model,
        nn.CrossEntropyLoss(reduction="none"),
        scorer=Uniform(),
        granularity="element",
        dynamics=dynamics,
    )
    losses = F.cross_entropy(model(x), y, reduction="none").detach()
    ids = torch.arange(24).reshape(4, 6) if by_element else torch.arange(4)
    reweighter((x, y), ids=ids)
    if by_element:
        wanted = losses.flatten()
        wanted[0] = float("nan")
        assert dynamics.given_labels.tolist() == [-1, *y.flatten().tolist()[1:]]
    else:
        wanted = losses.sum(dim=1) / torch.tensor([5, 6, 6, 6])
        assert dynamics.given_labels.tolist() == [-1] * 4
    torch.testing.assert_close(dynamics.mean_loss, wanted, equal_nan=True)
    assert len(dynamics.find_label_issues()) == dynamics.num_samples


def test_a_sample_that_is_dropped_is_not_seen():
    dynamics = TrainingDynamics(SAMPLES)
    loss = nn.CrossEntropyLoss(reduction="none")
    reweighter = MetaReweighter(
        net(), loss, scorer=Uniform(), dynamics=dynamics, on_nonfinite="drop"
    )
    x, y = data()
    x[2] = float("nan")
    reweighter((x, y), ids=torch.arange(SAMPLES)).loss.backward()
    assert dynamics.times_seen.tolist() == [1, 1, 0, *[1] * (SAMPLES - 3)]
    assert dynamics.mean_loss[[0, 1, 3]].isfinite().all()


def test_it_is_a_part_of_the_reweighters_state():
    def made():
        return MetaReweighter(
            net(),
            nn.CrossEntropyLoss(reduction="none"),
            scorer=Uniform(),
            dynamics=TrainingDynamics(SAMPLES),
        )

    first, second = made(), made()
    train(first, trusted=False)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert first.dynamics is not None
    assert second.dynamics is not None
    # What is remembered moves to where the first step is computed, and the second made none.
    torch.testing.assert_close(second.dynamics.mean_loss.cpu(), first.dynamics.mean_loss.cpu())
    copied = copy.deepcopy(first)
    torch.testing.assert_close(copied.dynamics.mean_loss, first.dynamics.mean_loss)


def test_ids_are_asked_for_and_must_be_of_one_data_set():
    loss = nn.CrossEntropyLoss(reduction="none")
    x, y = data()
    reweighter = MetaReweighter(net(), loss, scorer=Uniform(), dynamics=TrainingDynamics(SAMPLES))
    with pytest.raises(ValueError, match="ids="):
        reweighter((x, y))
    with pytest.raises(ValueError, match=f"below {SAMPLES}"):
        reweighter((x, y), ids=torch.arange(SAMPLES) + 1)
    with pytest.raises(ValueError, match="must speak of the same ids"):
        MetaReweighter(net(), loss, weighting=SampleWeights(3), dynamics=TrainingDynamics(4))
    with pytest.raises(TypeError, match="TrainingDynamics"):
        MetaReweighter(net(), loss, dynamics="yes")
