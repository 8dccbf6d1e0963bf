"""Soft labels train on what is believed of each label, and learn it from the label scores."""

from __future__ import annotations

import copy
import functools
import gc

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reweight import (
    EqualWeights,
    GradientSimilarity,
    LossMagnitude,
    MendedLabels,
    MetaReweighter,
    NonFiniteError,
    SampleLosses,
    SampleWeights,
    SoftLabels,
)
from reweight._step.soft_targets import Labelled
from tests import oracle
from tests.comparing import assert_same
from tests.device import autocast, near
from tests.labels.training import trained_on_wrong_labels
from tests.problems import CLASSES, PROBLEMS, float64

N, RATE, PRIOR = 9, 0.7, 1.5
IDS = torch.tensor([4, 0, 7, 2, 8])


def soft(count=CLASSES, **options):
    return SoftLabels(N, count, prior=PRIOR, rate=RATE, **options)


def weigh_with(case, labels, **options):
    return MetaReweighter(
        case.model,
        None if case.forward else case.loss,
        forward=case.forward,
        scorer=GradientSimilarity(),
        labels=labels,
        **options,
    )


def soft_loss(loss, q):
    """Σ q_k L(k), in as many terms; `q` has the classes last."""

    def losses(output, target):
        each = [loss(output, torch.full_like(target, k)) for k in range(q.shape[-1])]
        total = sum(q[..., k] * each[k] for k in range(q.shape[-1]))
        return torch.where(target >= 0, total, torch.zeros_like(total))

    return losses


def expected_after(given_labels, scores, ids):
    """T as the definition has it, one sample at a time."""
    table = torch.zeros(N, *scores.shape[1:]).double()
    own = scores.gather(-1, given_labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    rms = own[given_labels >= 0].square().mean().sqrt()
    for i, row in enumerate(ids.tolist()):
        z = (scores[i] / rms).clamp(-3, 3)
        table[row] += RATE * torch.where((given_labels[i] >= 0).unsqueeze(-1), z, torch.zeros(()))
    return table


LOSSES = {
    "cross-entropy": nn.CrossEntropyLoss(reduction="none"),
    "weights and smoothing": nn.CrossEntropyLoss(
        torch.tensor([0.2, 1.0, 3.0]).double(), reduction="none", label_smoothing=0.2
    ),
    "function": lambda z, y: 1 - z.softmax(1).gather(1, y[:, None])[:, 0] ** 0.7,
}


@pytest.mark.parametrize("name", LOSSES)
def test_steps_are_as_their_definition_has_them(name):
    case, labels = PROBLEMS["batchnorm_train"](), soft()
    case.loss = loss = LOSSES[name]
    weigh = weigh_with(case, labels)
    y = case.noisy[1]
    table = torch.zeros(N, CLASSES).double()
    for _ in range(3):
        columns = [
            oracle.gradient_similarity(
                case.model,
                lambda m, b: loss(m(b[0]), b[1]),
                (case.noisy[0], torch.full_like(y, k)),
                case.trusted,
            )
            for k in range(CLASSES)
        ]
        scores = torch.stack(columns, dim=1)
        table += expected_after(y, scores, IDS)
        q = (table[IDS] + PRIOR * F.one_hot(y, CLASSES)).softmax(-1)

        def losses(model, q=q):
            return soft_loss(loss, q)(model(case.noisy[0]), y)

        with oracle.undisturbed(case.model):
            expected = losses(case.model)
            gradient = oracle.gradient(expected.mean(), list(case.model.parameters()))
        step = weigh(case.noisy, case.trusted, ids=IDS)
        assert_same(step.losses, expected, 1e-6)
        assert_same(step.label_scores, scores, 1e-8)
        assert_same(step.scores["gradient_similarity"], scores.gather(1, y[:, None])[:, 0], 1e-8)
        case.model.zero_grad()
        step.loss.backward()
        assert_same(oracle.flat([p.grad for p in case.model.parameters()]), gradient, 1e-5)
    assert_same(labels.probabilities[IDS], q, 1e-5)
    assert torch.equal(labels.suggested[IDS], q.argmax(-1))


def test_before_anything_was_learnt_the_label_given_is_believed_by_its_prior():
    case = PROBLEMS["mlp"]()
    step = weigh_with(case, soft()).score(case.noisy, case.trusted, ids=IDS)
    q = 1 / (torch.tensor(PRIOR).exp() + CLASSES - 1)
    logp = case.model(case.noisy[0]).log_softmax(1).detach()
    own = logp.gather(1, case.noisy[1][:, None])[:, 0]
    assert_same(step.losses, -(q * logp.sum(1) + (1 - CLASSES * q) * own), 1e-6)


def test_looking_at_weights_learns_nothing():
    case, labels = PROBLEMS["mlp"](), soft()
    weigh = weigh_with(case, labels)
    weigh(case.noisy, case.trusted, ids=IDS)
    before = copy.deepcopy(labels.state_dict())
    step = weigh.score(case.noisy, case.trusted, ids=IDS)
    assert step.label_scores is not None
    for name, value in labels.state_dict().items():
        assert torch.equal(value, before[name])


def test_unseen_samples_are_told_from_others():
    case, labels = PROBLEMS["mlp"](), soft()
    assert (labels.suggested == -1).all()
    weigh_with(case, labels)(case.noisy, case.trusted, ids=IDS)
    unseen = torch.ones(N, dtype=torch.bool).index_fill(0, IDS, False)
    assert (labels.suggested[unseen] == -1).all()
    assert (labels.suggested[~unseen] >= 0).all()
    assert_same(labels.probabilities[unseen], torch.full((4, CLASSES), 1 / CLASSES), 1e-6)


def test_labels_that_are_wrong_are_mended():
    labels = SoftLabels(90, 3)
    truth, given = trained_on_wrong_labels(labels)
    wrong = given != truth
    assert (labels.suggested[wrong] == truth[wrong]).float().mean() > 0.9
    assert (labels.suggested[~wrong] == truth[~wrong]).float().mean() > 0.9


# Ignored targets, masks, tokens, forward functions ----------------------------------------------


def test_ignored_targets_stay_ignored():
    case, labels = PROBLEMS["mlp"](), soft()
    case.noisy[1][[1, 3]] = -100
    step = weigh_with(case, labels)(case.noisy, case.trusted, ids=IDS)
    assert step.counted.tolist() == [True, False, True, False, True]
    assert (step.losses[[1, 3]] == 0).all()
    assert (labels.suggested[IDS[[1, 3]]] == -1).all()
    assert_same(labels.probabilities[IDS[[1, 3]]], torch.full((2, CLASSES), 1 / CLASSES), 1e-6)


@pytest.mark.parametrize("granularity", ["sample", "element"])
def test_masks_are_mended_voxel_by_voxel(granularity):
    case = PROBLEMS["unet3d"]()
    y = case.noisy[1]
    y[0, :2] = -100
    labels = soft(2, shape=y.shape[1:])
    step = weigh_with(case, labels, granularity=granularity)(case.noisy, case.trusted, ids=IDS)
    table = expected_after(y, step.label_scores, IDS)
    q = (table[IDS] + PRIOR * F.one_hot(y.clamp(min=0), 2)).softmax(-1)
    believed = labels.probabilities[IDS]
    assert_same(believed[y >= 0], q[y >= 0], 1e-5)
    assert_same(believed[y < 0], torch.full_like(believed[y < 0], 0.5), 1e-6)
    assert torch.equal(labels.suggested[IDS], torch.where(y >= 0, q.argmax(-1), -1))
    logp = case.model(case.noisy[0]).log_softmax(1).detach().movedim(1, -1)
    each = -(believed * logp).sum(-1) * (y >= 0)
    if granularity == "sample":
        each = each.flatten(1).sum(1) / (y >= 0).flatten(1).sum(1)
    assert_same(step.losses, each, 1e-5)


def token_forward(model, batch):
    logits = model(batch["x"])
    each = F.cross_entropy(logits.movedim(-1, 1), batch["labels"], reduction="none")
    return SampleLosses(each, logits=logits, labels=batch["labels"])


def test_tokens_may_have_an_id_each():
    with float64():
        model = nn.Sequential(nn.Embedding(7, 5), nn.LayerNorm(5), nn.Linear(5, 7))
        noisy, trusted = (
            {"x": torch.randint(7, (n, 3)), "labels": torch.randint(7, (n, 3))} for n in (3, 3)
        )
    noisy["labels"][0, 1:] = -100
    labels = soft(7)
    weigh = MetaReweighter(
        model,
        forward=token_forward,
        scorer=GradientSimilarity(),
        labels=labels,
        granularity="element",
    )
    ids = torch.arange(9).reshape(3, 3)
    step = weigh(noisy, trusted, ids=ids)
    y = noisy["labels"].flatten()
    table = expected_after(y, step.label_scores.flatten(0, 1), ids.flatten())
    q = (table + PRIOR * F.one_hot(y.clamp(min=0), 7)).softmax(-1)
    given = y >= 0
    assert_same(labels.probabilities[given], q[given], 1e-5)
    assert_same(labels.probabilities[~given], torch.full((2, 7), 1 / 7), 1e-5)
    logp = model(noisy["x"]).log_softmax(-1).flatten(0, 1).detach()
    assert_same(step.losses.flatten(), -(q * logp).sum(-1) * given, 1e-5)


def test_a_loss_of_a_sequence_is_softened_over_its_tokens():
    with float64():
        model = nn.Sequential(nn.Embedding(7, 5), nn.LayerNorm(5), nn.Linear(5, 7))
        noisy, trusted = (
            {"x": torch.randint(7, (n, 3)), "labels": torch.randint(7, (n, 3))} for n in (3, 3)
        )
    noisy["labels"][0, 1:] = -100

    def forward(model, batch):
        found = token_forward(model, batch)
        number = (batch["labels"] >= 0).sum(1)
        return SampleLosses(found.losses.sum(1) / number, None, found.logits, found.labels)

    labels = soft(7, shape=(3,))
    weigh = MetaReweighter(model, forward=forward, scorer=GradientSimilarity(), labels=labels)
    ids = torch.tensor([4, 0, 7])
    step = weigh(noisy, trusted, ids=ids)
    logp = model(noisy["x"]).log_softmax(-1).detach()
    each = -(labels.probabilities[ids] * logp).sum(-1) * (noisy["labels"] >= 0)
    assert_same(step.losses, each.sum(1) / (noisy["labels"] >= 0).sum(1), 1e-5)


def test_a_forward_function_keeps_what_it_adds_to_the_cross_entropy():
    case = PROBLEMS["mlp"]()
    case.forward = lambda model, batch: SampleLosses(
        F.cross_entropy(model(batch[0]), batch[1], reduction="none"),
        logits=model(batch[0]),
        labels=batch[1],
    )
    one = weigh_with(case, soft())(case.noisy, case.trusted, ids=IDS)
    case.forward = None
    other = weigh_with(case, soft())(case.noisy, case.trusted, ids=IDS)
    assert_same(one.losses, other.losses, 1e-9)
    assert_same(one.loss, other.loss, 1e-9)
    assert_same(one.label_scores, other.label_scores, 1e-9)


def test_margins_speak_of_the_label_as_given():
    case, seen = PROBLEMS["mlp"](), []

    def weighting(context):
        seen.append((context.labels, context.margins))
        return torch.ones_like(context.losses)

    weigh = weigh_with(case, soft(), weighting=weighting)
    plain = MetaReweighter(case.model, case.loss, scorer=GradientSimilarity(), weighting=weighting)
    weigh(case.noisy, case.trusted, ids=IDS)
    plain(case.noisy, case.trusted, ids=IDS)
    for one, other in zip(*seen, strict=True):
        assert torch.equal(one, other)


# With the rest of the library --------------------------------------------------------------------


def test_a_dropped_sample_teaches_nothing():
    case, labels, others = PROBLEMS["mlp"](), soft(), soft()
    rest = [0, 1, 3, 4]
    x, y = case.noisy
    weigh_with(case, others)((x[rest], y[rest]), case.trusted, ids=IDS[rest])
    x[2] = float("nan")
    step = weigh_with(case, labels, on_nonfinite="drop")((x, y), case.trusted, ids=IDS)
    assert step.dropped == (2,)
    assert_same(labels.probabilities, others.probabilities, 1e-6)


def test_a_step_that_fails_teaches_nothing():
    case, labels = PROBLEMS["mlp"](), soft()
    weigh = weigh_with(case, labels)
    case.noisy[0][2] = float("nan")
    with pytest.raises(NonFiniteError):
        weigh(case.noisy, case.trusted, ids=IDS)
    assert (labels.suggested == -1).all()


def test_under_autocast_the_training_pass_sees_the_same_targets():
    case, labels = PROBLEMS["mlp"](), soft()
    case.model.float()
    noisy, trusted = ((x.float(), y) for x, y in (case.noisy, case.trusted))
    weigh = weigh_with(case, labels)
    with autocast(dtype=torch.bfloat16):
        first = weigh(noisy, trusted, ids=IDS)
    first.loss.backward()
    plain = weigh_with(case, soft())(noisy, trusted, ids=IDS)
    assert_same(first.losses, plain.losses, 2e-2)
    assert_same(first.label_scores, plain.label_scores, 1e-5)
    assert labels.probabilities.dtype == torch.float32


def test_they_join_a_weighting_that_remembers():
    case = PROBLEMS["mlp"]()
    weights = SampleWeights(N)
    step = weigh_with(case, soft(), weighting=weights)(case.noisy, case.trusted, ids=IDS)
    assert (weights.remembered[IDS].sign() == step.scores["gradient_similarity"].sign()).all()
    with pytest.raises(ValueError, match="same ids"):
        weigh_with(case, soft(), weighting=SampleWeights(N + 1))


def test_a_checkpoint_goes_on_where_it_stopped():
    case = PROBLEMS["mlp"]()
    one, other = weigh_with(case, soft()), weigh_with(case, soft())
    one(case.noisy, case.trusted, ids=IDS)
    other.load_state_dict(one.state_dict())
    for weigh in (one, other, copy.deepcopy(one)):
        # A memory moves to where the first step is computed, and `other` has made none yet.
        assert near(weigh.labels.probabilities.cpu(), one.labels.probabilities.cpu())
        assert torch.equal(weigh.labels.suggested.cpu(), one.labels.suggested.cpu())
    steps = [w(case.noisy, case.trusted, ids=IDS) for w in (one, other)]
    assert torch.equal(steps[0].losses, steps[1].losses)
    with pytest.raises(ValueError, match="build it as it was built"):
        SoftLabels(N + 1, CLASSES).load_state_dict(soft().state_dict())
    with pytest.raises(ValueError, match="labels"):
        weigh_with(case, None).load_state_dict(one.state_dict())


@given(
    scores=st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1, max_size=5),
    data=st.data(),
)
def test_whatever_the_scores_a_step_moves_no_label_further_than_three_rates(scores, data):
    labels = soft()
    rows = len(scores)
    ids = torch.tensor(data.draw(st.permutations(range(N)))[:rows])
    given_labels = torch.tensor(
        data.draw(st.lists(st.integers(-1, 2), min_size=rows, max_size=rows))
    )
    scores = torch.tensor(scores)
    labels.learn(Labelled(ids, given_labels, scores, scores))
    learnt = labels.state_dict()["values"]
    assert learnt.isfinite().all()
    assert learnt.abs().max() <= 3 * RATE * (1 + 1e-6)
    assert (learnt[ids][given_labels < 0] == 0).all()


@pytest.mark.parametrize("make", [SoftLabels, MendedLabels])
@pytest.mark.usefixtures("one_way")
@pytest.mark.parametrize("method", ["auto", "double_backward"])
def test_steps_leave_no_tensor_behind(make, method):
    case = PROBLEMS["mlp"]()
    weigh = MetaReweighter(
        case.model, case.loss, scorer=GradientSimilarity(method), labels=make(N, CLASSES)
    )
    counts = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(6):
            case.model.zero_grad()
            step = weigh(case.noisy, case.trusted, ids=IDS)
            step.loss.backward()
            del step
            counts.append(sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects()))
    finally:
        gc.enable()
    assert counts[3] == counts[4] == counts[5]


@pytest.mark.parametrize("make", [SoftLabels, MendedLabels])
def test_no_value_is_asked_of_the_device_for_them(make, monkeypatch):
    case = PROBLEMS["mlp"]()
    asked = []

    def weigh(**options):
        weigh = MetaReweighter(case.model, case.loss, scorer=GradientSimilarity(), **options)
        for _ in range(3):  # the first two check themselves
            weigh(case.noisy, case.trusted, ids=IDS)
        asked.clear()
        weigh(case.noisy, case.trusted, ids=IDS)
        return len(asked)

    def asking(own):
        def counted(self, *args):
            asked.append(own.__name__)
            return own(self, *args)

        return counted

    for name in ("__bool__", "__float__", "__int__", "__index__", "item", "tolist", "nonzero"):
        monkeypatch.setattr(torch.Tensor, name, asking(getattr(torch.Tensor, name)))
    before = weigh(weighting=EqualWeights())
    assert before > 0
    assert weigh(labels=make(N, CLASSES)) <= before


# Refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 3), {}, "num_samples"),
        ((5, 1), {}, ">= 2"),
        ((5, 3), {"prior": -1.0}, "prior"),
        ((5, 3), {"rate": -1.0}, "rate"),
        ((5, 3), {"shape": (0, 2)}, "shape"),
        ((1000, 3), {"shape": (96, 96, 96)}, r"16\.5 GiB .* max_gib=4"),
    ],
)
def test_what_cannot_be_remembered_is_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        SoftLabels(*arguments, **options)


def test_a_larger_limit_is_the_users_to_set():
    with pytest.raises(ValueError, match="max_gib=1e-06"):
        SoftLabels(100, 3, max_gib=1e-6)
    SoftLabels(100, 3, max_gib=1e-5)


def test_parts_that_do_not_fit_are_refused():
    case = PROBLEMS["mlp"]()
    with pytest.raises(TypeError, match="SoftLabels"):
        weigh_with(case, torch.zeros(3))
    with pytest.raises(ValueError, match="score under every label"):
        MetaReweighter(case.model, case.loss, scorer=LossMagnitude(), labels=soft())
    with pytest.raises(ValueError, match="ids="):
        weigh_with(case, soft())(case.noisy, case.trusted)


def probabilities(case):
    case.noisy = case.noisy[0], F.one_hot(case.noisy[1], CLASSES).double()


def plain_forward(case):
    case.forward = lambda model, batch: F.cross_entropy(model(batch[0]), batch[1], reduction="none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (probabilities, "class indices"),
        (plain_forward, "SampleLosses"),
        (None, "3 classes. Build"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.filterwarnings("ignore:GradientSimilarity")
def test_batches_that_do_not_fit_are_refused(change, message, training):
    case = PROBLEMS["mlp"]()
    if change is not None:
        change(case)
    weigh = weigh_with(case, soft(4) if change is None else soft())
    with pytest.raises((ValueError, RuntimeError), match=message):
        (weigh if training else weigh.score)(case.noisy, case.trusted, ids=IDS)


def test_a_partial_cross_entropy_is_one_too():
    case = PROBLEMS["mlp"]()
    expected = weigh_with(case, soft())(case.noisy, case.trusted, ids=IDS)
    case.loss = functools.partial(F.cross_entropy, reduction="none")
    step = weigh_with(case, soft())(case.noisy, case.trusted, ids=IDS)
    assert torch.equal(step.losses, expected.losses)
