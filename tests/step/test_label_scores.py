"""The score of each sample under every label is what plain backward passes give for that label."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reweight import (
    GradientSimilarity,
    LossMagnitude,
    MetaReweighter,
    RandomWeights,
    SampleLosses,
)
from reweight.lookahead import SGD
from tests import oracle
from tests.comparing import assert_same
from tests.device import autocast
from tests.problems import CLASSES, PROBLEMS, float64

CLASSIFIERS = [
    *("mlp", "dropout", "batchnorm_train", "groupnorm", "resnet", "attention"),
    *("transformer_train", "unet3d", "tied", "coupled_head"),
]
METHODS = ["auto", "forward", "double_backward"]


def under_every_label(case, count):
    """K times the slow oracle, each time as if everything had that label: (entries, K)."""
    inputs, target = case.noisy
    columns = [
        oracle.gradient_similarity(
            case.model, case.losses, (inputs, torch.full_like(target, k)), case.trusted
        )
        for k in range(count)
    ]
    return torch.stack(columns, dim=-1).reshape(*target.shape, count)


def classes(case):
    with torch.no_grad(), oracle.undisturbed(case.model):
        return case.model(case.noisy[0]).shape[1]


def label_scores(case, *, training=True, loss=None, granularity="sample", **options):
    weigh = MetaReweighter(
        case.model,
        case.loss if loss is None else loss,
        scorer=GradientSimilarity(**options),
        label_scores=True,
        granularity=granularity,
    )
    return (weigh if training else weigh.score)(case.noisy, case.trusted)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_scores_under_every_label_are_those_of_plain_backward_passes(name, method, training):
    case = PROBLEMS[name]()
    expected = under_every_label(case, classes(case))
    step = label_scores(case, method=method, training=training)
    assert_same(step.label_scores, expected, 1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_a_pass_of_their_own_under_autocast_gives_the_same_scores(method):
    case = PROBLEMS["mlp"]()
    expected = under_every_label(case, CLASSES)
    with autocast(dtype=torch.bfloat16):
        step = label_scores(case, method=method)
    assert_same(step.label_scores, expected, 1e-8)


LOSSES = {
    "smoothing": nn.CrossEntropyLoss(reduction="none", label_smoothing=0.2),
    "weights": nn.CrossEntropyLoss(torch.tensor([0.2, 1.0, 3.0]).double(), reduction="none"),
    "both": nn.CrossEntropyLoss(
        torch.tensor([0.2, 1.0, 3.0]).double(), reduction="none", label_smoothing=0.3
    ),
    "partial": functools.partial(F.cross_entropy, reduction="none", label_smoothing=0.1),
    "ignored class": nn.CrossEntropyLoss(reduction="none", ignore_index=2),
    "focal": lambda z, y: (
        (1 - z.softmax(1).gather(1, y[:, None])[:, 0]) ** 2
        * F.cross_entropy(z, y, reduction="none")
    ),
    "generalised": lambda z, y: 1 - z.softmax(1).gather(1, y[:, None])[:, 0] ** 0.7,
}


@pytest.mark.parametrize("method", ["forward", "double_backward"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_other_kinds_have_exact_scores_too(name, method):
    case = PROBLEMS["mlp"]()
    case.loss = LOSSES[name]
    if name == "ignored class":
        case.noisy[1].clamp_(max=1)
        case.trusted[1].clamp_(max=1)
    expected = under_every_label(case, CLASSES)
    assert_same(label_scores(case, method=method).label_scores, expected, 1e-8)


def given_column(step, labels):
    return step.label_scores.gather(-1, labels.unsqueeze(-1)).squeeze(-1)


@given(
    rate=st.floats(0.01, 10), scale=st.sampled_from([1e-12, 1.0, 1e6]), seed=st.integers(0, 2**16)
)
def test_the_column_of_the_label_given_is_the_score_and_the_likely_ones_cancel(rate, scale, seed):
    with float64(seed):
        model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4))
        noisy = torch.randn(6, 3), torch.randint(4, (6,))
        trusted = torch.randn(3, 3), torch.randint(4, (3,))

    def loss(output, target):
        return F.cross_entropy(output, target, reduction="none")

    def scaled(model, batch):
        logits = model(batch[0])
        return SampleLosses(loss(logits, batch[1]), logits=logits, labels=batch[1])

    with torch.no_grad():
        model[0].weight *= scale if scale < 1 else 1.0
    weigh = MetaReweighter(
        model, forward=scaled, scorer=GradientSimilarity(lookahead=SGD(rate)), label_scores=True
    )
    step = weigh(noisy, trusted)
    assert_same(given_column(step, noisy[1]), step.scores["gradient_similarity"], 1e-9)
    with torch.no_grad():
        p = model(noisy[0]).softmax(1)
    likely = (p * step.label_scores).sum(1)
    assert likely.abs().max() <= 1e-9 * step.label_scores.abs().max()


def test_scores_too_small_for_single_precision_keep_their_scale():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    with torch.no_grad():
        for p in model.parameters():
            p *= 1e-2
    x = 1e-14 * torch.randn(5, 6)
    noisy, trusted = (x, torch.randint(3, (5,))), (x, torch.randint(3, (5,)))
    scorer = GradientSimilarity(parameters=[model[0].weight])
    loss = nn.CrossEntropyLoss(reduction="none")
    step = MetaReweighter(model, loss, scorer=scorer, label_scores=True)(noisy, trusted)
    scores = step.scores["gradient_similarity"]
    assert (scores != 0).all()
    assert scores.abs().max() < 1e-32  # out of the range of a first attempt
    assert_same(given_column(step, noisy[1]), scores, 1e-4)


def test_ignored_targets_have_no_label_scores():
    case = PROBLEMS["mlp"]()
    case.noisy[1][[1, 3]] = -100
    step = label_scores(case)
    assert (step.label_scores[[1, 3]] == 0).all()
    assert (step.label_scores[[0, 2, 4]] != 0).all()


def test_ignored_voxels_have_none_and_the_others_add_up_to_their_samples():
    case = PROBLEMS["unet3d"]()
    case.noisy[1][0, :2] = -100
    labels = case.noisy[1]
    step = label_scores(case)
    assert step.label_scores.shape == (*labels.shape, 2)
    own = given_column(step, labels.clamp(min=0)) * (labels >= 0)
    mean = own.flatten(1).sum(1) / (labels >= 0).flatten(1).sum(1)
    assert_same(mean, step.scores["gradient_similarity"], 1e-9)


def test_dropped_samples_have_unknown_label_scores():
    case = PROBLEMS["mlp"]()
    expected = label_scores(case).label_scores
    case.noisy[0][2] = float("nan")
    weigh = MetaReweighter(
        case.model,
        case.loss,
        scorer=GradientSimilarity(),
        label_scores=True,
        on_nonfinite="drop",
    )
    step = weigh(case.noisy, case.trusted)
    assert step.label_scores[2].isnan().all()
    rest = [0, 1, 3, 4]
    assert_same(step.label_scores[rest], expected[rest], 1e-9)


def test_a_weighting_is_told_them_in_one_line():
    case = PROBLEMS["unet3d"]()
    case.noisy[1][0, :2] = -100
    seen = []

    def weighting(context):
        seen.append((context.label_scores, context.labels))
        return torch.ones_like(context.losses)

    weigh = MetaReweighter(
        case.model,
        case.loss,
        scorer=GradientSimilarity(),
        weighting=weighting,
        label_scores=True,
        granularity="element",
    )
    step = weigh(case.noisy, case.trusted)
    (values, labels), counted = seen[0], case.noisy[1] >= 0
    assert torch.equal(values, step.label_scores[counted])
    assert torch.equal(labels, case.noisy[1][counted])


def test_they_are_not_computed_where_nobody_asked():
    case = PROBLEMS["mlp"]()
    seen = []

    def weighting(context):
        seen.append(context.label_scores)
        return torch.ones_like(context.losses)

    weigh = MetaReweighter(case.model, case.loss, scorer=GradientSimilarity(), weighting=weighting)
    assert weigh(case.noisy, case.trusted).label_scores is None
    assert seen == [None]


def test_the_first_scorer_that_knows_gives_them():
    case = PROBLEMS["mlp"]()
    expected = under_every_label(case, CLASSES)
    scorer = RandomWeights(seed=0) + GradientSimilarity() + GradientSimilarity(parameters="2.*")
    step = MetaReweighter(case.model, case.loss, scorer=scorer, label_scores=True)(
        case.noisy, case.trusted
    )
    assert_same(step.label_scores, expected, 1e-9)


class Asking:
    needs_label_scores = True

    def __init__(self):
        self.seen = []

    def __call__(self, context):
        self.seen.append(context.label_scores)
        return torch.ones_like(context.losses)


def test_a_weighting_may_ask_for_them_and_is_told_none_where_they_are_not_known():
    case = PROBLEMS["mlp"]()
    known, unknown = Asking(), Asking()
    scorer = GradientSimilarity()
    step = MetaReweighter(case.model, case.loss, scorer=scorer, weighting=known)(
        case.noisy, case.trusted
    )
    assert_same(known.seen[0], under_every_label(case, CLASSES), 1e-9)
    assert torch.equal(known.seen[0], step.label_scores)
    for scorer in (GradientSimilarity("per_sample"), LossMagnitude()):
        weigh = MetaReweighter(case.model, case.loss, scorer=scorer, weighting=unknown)
        assert weigh(case.noisy, case.trusted).label_scores is None
    assert unknown.seen == [None, None]


@pytest.mark.parametrize("compiled", ["model", "loss"])
def test_compiled_code_has_the_same_scores(compiled):
    case = PROBLEMS["mlp"]()
    expected = under_every_label(case, CLASSES)
    if compiled == "model":
        case.model = torch.compile(case.model, backend="eager")
    else:
        case.loss = torch.compile(case.loss, backend="eager")
    assert_same(label_scores(case).label_scores, expected, 1e-9)


# Dict batches and two classes --------------------------------------------------------------------


def dict_forward(model, batch):
    logits = model(batch["x"])
    losses = F.cross_entropy(logits, batch["labels"], reduction="none")
    return SampleLosses(losses, logits=logits, labels=batch["labels"])


def as_dict(batch):
    return {"x": batch[0], "labels": batch[1]}


@pytest.mark.parametrize("training", [True, False])
def test_a_forward_function_that_tells_logits_has_what_a_loss_has(training):
    case = PROBLEMS["mlp"]()
    seen = []

    def weighting(context):
        seen.append((context.margins, context.labels, context.logits))
        return torch.ones_like(context.losses)

    steps = []
    batches = [as_dict(case.noisy), as_dict(case.trusted)]
    for how, (noisy, trusted) in [
        ({"loss": case.loss}, (case.noisy, case.trusted)),
        ({"forward": dict_forward}, batches),
    ]:
        weigh = MetaReweighter(
            case.model, **how, scorer=GradientSimilarity(), weighting=weighting, label_scores=True
        )
        steps.append((weigh if training else weigh.score)(noisy, trusted))
    for one, other in zip(*seen, strict=True):
        assert torch.equal(one, other)
    assert_same(steps[1].label_scores, steps[0].label_scores, 1e-12)


def token_forward(model, batch):
    """One loss a sequence, of tokens that count: as of a language model."""
    logits = model(batch["x"])
    each = F.cross_entropy(logits.movedim(-1, 1), batch["labels"], reduction="none")
    given = batch["labels"] >= 0
    return SampleLosses(each.sum(1) / given.sum(1), logits=logits, labels=batch["labels"])


def test_tokens_have_label_scores_of_their_own_loss():
    with float64():
        model = nn.Sequential(nn.Embedding(7, 5), nn.LayerNorm(5), nn.Linear(5, 7))
        noisy, trusted = (
            {"x": torch.randint(7, (n, 4)), "labels": torch.randint(7, (n, 4))} for n in (5, 3)
        )
    noisy["labels"][0, 1:] = -100
    weigh = MetaReweighter(
        model, forward=token_forward, scorer=GradientSimilarity(), label_scores=True
    )
    step = weigh(noisy, trusted)
    assert step.label_scores.shape == (5, 4, 7)
    labels = noisy["labels"]
    own = given_column(step, labels.clamp(min=0)) * (labels >= 0)
    mean = own.sum(1) / (labels >= 0).sum(1)
    assert_same(mean, step.scores["gradient_similarity"], 1e-9)


def test_sample_losses_may_say_which_count():
    case = PROBLEMS["mlp"]()

    def forward(model, batch):
        found = dict_forward(model, batch)
        counted = torch.arange(len(found.losses)) != 1
        return SampleLosses(found.losses, counted, found.logits, found.labels)

    weigh = MetaReweighter(
        case.model, forward=forward, scorer=GradientSimilarity(), label_scores=True
    )
    step = weigh(as_dict(case.noisy), as_dict(case.trusted))
    assert step.counted.tolist() == [True, False, True, True, True]
    assert (step.label_scores[1] == 0).all()


def test_sample_losses_take_logits_and_labels_together():
    with pytest.raises(ValueError, match="together"):
        SampleLosses(torch.zeros(3), logits=torch.zeros(3, 2))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_one_logit_of_a_binary_cross_entropy_is_two_classes(shape, weighted):
    with float64():
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
        if not shape:
            model.append(nn.Flatten(0))
        noisy, trusted = (
            (torch.randn(n, 4), torch.randint(2, (n, *shape)).double()) for n in (6, 3)
        )
        weight = torch.tensor(3.0) if weighted else None
    loss = nn.BCEWithLogitsLoss(reduction="none", pos_weight=weight)
    seen = []

    def weighting(context):
        seen.append((context.margins, context.labels, context.label_scores))
        return torch.ones_like(context.losses)

    def losses(model, batch):
        return loss(model(batch[0]), batch[1])

    weigh = MetaReweighter(
        model, loss, scorer=GradientSimilarity(), weighting=weighting, label_scores=True
    )
    step = weigh(noisy, trusted)
    expected = [
        oracle.gradient_similarity(model, losses, (noisy[0], torch.full_like(noisy[1], k)), trusted)
        for k in (0, 1)
    ]
    assert_same(step.label_scores, torch.stack(expected, dim=1), 1e-9)
    margins, labels, scores = seen[0]
    z, y = model(noisy[0]).flatten().detach(), noisy[1].flatten()
    assert torch.equal(margins, torch.where(y > 0, z, -z))
    assert torch.equal(labels, y.long())
    assert torch.equal(scores, step.label_scores)


# Where they cannot be had ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scorer",
    [
        LossMagnitude(),
        GradientSimilarity("per_sample"),
        GradientSimilarity("finite_difference"),
        GradientSimilarity("unrolled"),
    ],
)
def test_scorers_that_do_not_know_them_are_refused_at_once(scorer):
    case = PROBLEMS["mlp"]()
    with pytest.raises(ValueError, match="score under every label"):
        MetaReweighter(case.model, case.loss, scorer=scorer, label_scores=True)


class WithCentres(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(CLASSES).double())

    def forward(self, output, target):
        return F.cross_entropy(output + self.bias, target, reduction="none")


def regression(case):
    case.loss = nn.MSELoss(reduction="none")
    case.noisy, case.trusted = (
        (x, torch.randn(len(x), CLASSES).double()) for x, _ in (case.noisy, case.trusted)
    )


def parameters_in_the_loss(case):
    case.loss = WithCentres()


def more_than_the_output(case):
    model = case.model
    case.loss = lambda z, y: F.cross_entropy(z, y, reduction="none") * model[0].weight.norm()


def shaped_otherwise(case):
    case.loss = lambda z, y: z.softmax(1) * F.cross_entropy(z, y, reduction="none")[:, None]


@pytest.mark.parametrize(
    "change", [regression, parameters_in_the_loss, more_than_the_output, shaped_otherwise]
)
def test_losses_of_which_they_are_not_known_are_refused(change):
    case = PROBLEMS["mlp"]()
    change(case)
    with pytest.raises(RuntimeError, match="under every label, and these are not known"):
        label_scores(case)


def test_a_forward_function_with_another_loss_is_refused():
    case = PROBLEMS["mlp"]()

    def forward(model, batch):
        found = dict_forward(model, batch)
        return SampleLosses(found.losses**2, logits=found.logits, labels=found.labels)

    weigh = MetaReweighter(
        case.model, forward=forward, scorer=GradientSimilarity(), label_scores=True
    )
    with pytest.raises(RuntimeError, match="plain cross-entropy"):
        weigh(as_dict(case.noisy), as_dict(case.trusted))


def test_a_loss_with_a_memory_is_called_no_more_often_for_them():
    case = PROBLEMS["mlp"]()

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, output, target):
            self.calls += 1
            return F.cross_entropy(output, target, reduction="none")

    case.loss = Counting()
    weigh = MetaReweighter(case.model, case.loss, scorer=GradientSimilarity(), label_scores=True)
    for done in (1, 2, 3):
        weigh(case.noisy, case.trusted)
        assert case.loss.calls == 2 * done - done  # the training pass alone leaves a trace
