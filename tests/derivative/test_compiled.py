"""``compile=``: scoring passes as compiled graphs, the same as eager ones or refused."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reweight import (
    GradientSimilarity,
    LastLayerGradient,
    MetaReweighter,
    NotCompilableError,
    Uniform,
)
from tests import oracle
from tests.comparing import assert_same
from tests.device import accelerators
from tests.problems import PROBLEMS, classified, cross_entropy
from tests.snapshot import Snapshot

EAGER = "aot_eager"  # the graphs as the compiler makes them, run by PyTorch's own kernels
NAMES = ["mlp", "batchnorm_train", "batchnorm_eval", "tied", "frozen", "unused", "dropout"]


@pytest.fixture(autouse=True)
def nothing_kept():
    yield
    torch.compiler.reset()


def compiled(case, backend=EAGER, **options):
    options.setdefault("scorer", GradientSimilarity())
    return MetaReweighter(case.model, case.loss, compile=backend, **options)


def expected(case):
    return oracle.gradient_similarity(case.model, case.sample_losses, case.noisy, case.trusted)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_a_backward_pass_a_sample(name):
    case = PROBLEMS[name]()
    weigh = compiled(case)
    for _ in range(3):
        right = expected(case)
        step = weigh(case.noisy, case.trusted)
        torch.testing.assert_close(step.scores["gradient_similarity"], right, rtol=1e-9, atol=1e-12)
        step.loss.backward()
        with torch.no_grad():
            for p in case.model.parameters():
                p.sub_(0.01 * p.grad if p.grad is not None else 0.0)


@pytest.mark.parametrize("name", ["batchnorm_train", "dropout"])
def test_a_look_leaves_buffers_modes_and_random_numbers_as_found(name):
    case = PROBLEMS[name]()
    weigh = compiled(case)
    before = Snapshot(case.model)
    weigh.score(case.noisy, case.trusted)
    weigh.score(case.noisy, case.trusted)
    assert before.changed() == []
    assert "forward" not in vars(case.model)


def test_running_statistics_move_once_a_step():
    case, twin = PROBLEMS["batchnorm_train"](), PROBLEMS["batchnorm_train"]()
    weigh, plain = compiled(case), MetaReweighter(twin.model, twin.loss)
    for _ in range(2):
        weigh(case.noisy, case.trusted)
        plain(twin.noisy, twin.trusted)
    for one, other in zip(case.model.buffers(), twin.model.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_graphs_are_made_once_a_mode_and_shape():
    made = []

    def backend(graph, _):
        made.append(graph)
        return graph.forward

    case = PROBLEMS["mlp"]()
    weigh = compiled(case, backend="eager")
    weigh._modes.compiled.backend = backend
    short = tuple(x[:3] for x in case.noisy)
    counts = []
    for batch, mode in [(case.noisy, True)] * 3 + [(short, True)] * 2 + [(case.noisy, False)] * 2:
        case.model.train(mode)
        weigh(batch, case.trusted).loss.backward()
        counts.append(len(made))
    assert counts[0] == counts[1] == counts[2]
    assert counts[2] < counts[3] == counts[4]
    assert counts[5] == counts[6]


def test_with_the_last_layer_a_trusted_term_and_look_aheads():
    case, twin = PROBLEMS["mlp"](), PROBLEMS["mlp"]()
    options = {
        "scorer": GradientSimilarity(parameters=["0.*"]) / LastLayerGradient(),
        "trusted_coefficient": 0.5,
    }
    weigh = compiled(case, **options)
    plain = MetaReweighter(twin.model, twin.loss, **options)
    for _ in range(2):
        one, other = (w(c.noisy, c.trusted) for w, c in ((weigh, case), (plain, twin)))
        torch.testing.assert_close(one.weights, other.weights)
        torch.testing.assert_close(one.loss, other.loss)


def test_scores_under_every_label():
    case, twin = PROBLEMS["mlp"](), PROBLEMS["mlp"]()
    weigh = compiled(case, label_scores=True)
    plain = MetaReweighter(twin.model, twin.loss, scorer=GradientSimilarity(), label_scores=True)
    torch.testing.assert_close(
        weigh(case.noisy, case.trusted).label_scores,
        plain(twin.noisy, twin.trusted).label_scores,
    )


def test_a_forward_function_around_the_model_runs_as_ever():
    case = PROBLEMS["mlp"]()

    def forward(model, batch):
        output = model(batch[0])
        return case.loss(output, batch[1]) * (1 + output.square().mean(dim=1)), batch[1] != 0

    weigh = MetaReweighter(case.model, forward=forward, scorer=GradientSimilarity(), compile=EAGER)
    plain = MetaReweighter(case.model, forward=forward, scorer=GradientSimilarity("forward"))
    torch.testing.assert_close(
        weigh.score(case.noisy, case.trusted).scores, plain.score(case.noisy, case.trusted).scores
    )


def test_a_model_that_is_compiled_itself():
    case = PROBLEMS["mlp"]()
    right = expected(case)
    weigh = MetaReweighter(
        torch.compile(case.model, backend="eager"),
        case.loss,
        scorer=GradientSimilarity(),
        compile=EAGER,
    )
    for _ in range(2):
        step = weigh(case.noisy, case.trusted)
        step.loss.backward()
        torch.testing.assert_close(step.scores["gradient_similarity"], right)


def test_it_is_checked_copied_and_explained():
    case = PROBLEMS["mlp"]()
    weigh = compiled(case)
    report = weigh.check(case.noisy, case.trusted)
    assert report.ok, report
    assert all(row.way == "forward mode, by a compiled graph" for row in report.scorers)
    weigh(case.noisy, case.trusted)
    twin = copy.deepcopy(weigh)
    torch.testing.assert_close(
        twin(case.noisy, case.trusted).weights, weigh(case.noisy, case.trusted).weights
    )
    assert "aot_eager" in weigh.explain()


# Refused -----------------------------------------------------------------------------------------


class Branches(nn.Linear):
    def forward(self, x):
        z = super().forward(x)
        return z if z.sum() > 0 else 2 * z


class Listens(nn.Linear):
    def forward(self, x):
        print(end="")  # nothing that a graph could hold
        return super().forward(x)


def linear(model):
    data = classified(6)
    model.double()
    return model, *((data[n][0].double(), data[n][1]) for n in ("noisy", "trusted"))


@pytest.mark.parametrize("make", [Branches, Listens])
def test_what_does_not_compile_whole_is_refused(make):
    model, noisy, trusted = linear(make(6, 3))
    weigh = MetaReweighter(model, cross_entropy, scorer=GradientSimilarity(), compile=EAGER)
    with pytest.raises(NotCompilableError, match="Leave compile= out"):
        weigh(noisy, trusted)
    assert "forward" not in vars(model)


def hooked(model):
    model.register_forward_hook(lambda *_: None)


def changed(model):
    model.weight.register_hook(lambda g: 2 * g)


def replaced(model):
    forward = model.forward
    model.forward = lambda x: forward(x)


@pytest.mark.parametrize(
    ("change", "words"),
    [(hooked, "has hooks"), (changed, "gradient hooks"), (replaced, "has been replaced")],
)
def test_what_a_graph_would_leave_out_is_refused(change, words):
    model, noisy, trusted = linear(nn.Linear(6, 3))
    change(model)
    weigh = MetaReweighter(model, cross_entropy, scorer=GradientSimilarity(), compile=EAGER)
    with pytest.raises(NotCompilableError, match=words):
        weigh(noisy, trusted)


def test_a_loss_with_parameters_of_its_own_is_refused():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, output, target):
            return self.scale * cross_entropy(output, target)

    model, noisy, trusted = linear(nn.Linear(6, 3))
    weigh = MetaReweighter(model, Scaled(), scorer=GradientSimilarity(), compile=EAGER)
    with pytest.raises(NotCompilableError, match="not the model's own"):
        weigh(noisy, trusted)


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (lambda m, b: cross_entropy(F.linear(b[0], m.weight), b[1]), "does not call the model"),
        (lambda m, b: cross_entropy(m(b[0]) + m(2 * b[0]), b[1]), "more than once"),
    ],
)
def test_a_forward_function_that_the_graph_is_not_the_whole_of_is_refused(forward, words):
    model, noisy, trusted = linear(nn.Linear(6, 3))
    weigh = MetaReweighter(model, forward=forward, scorer=GradientSimilarity(), compile=EAGER)
    with pytest.raises(NotCompilableError, match=words):
        weigh(noisy, trusted)


def test_masks_in_another_order_are_refused():
    """Of an encoder layer in train mode the masks come otherwise under ``torch.func``.

    On a CPU, that is. A GPU may well draw the same, and then the scores are those of eager code.
    """
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, batch_first=True)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 3)).double()
    noisy, trusted = (
        (torch.randn(n, 3, 4, dtype=torch.float64), torch.randint(3, (n,))) for n in (5, 4)
    )
    weigh = MetaReweighter(model, cross_entropy, scorer=GradientSimilarity(), compile=EAGER)
    if not accelerators():
        with pytest.raises(NotCompilableError, match="random numbers"):
            weigh(noisy, trusted)
        return
    plain = MetaReweighter(model, cross_entropy, scorer=GradientSimilarity())
    torch.manual_seed(5)
    expected = plain(noisy, trusted)
    torch.manual_seed(5)
    try:
        found = weigh(noisy, trusted)
    except NotCompilableError as refusal:
        if "random numbers" not in str(refusal):
            raise
        return
    assert_same(found.losses, expected.losses, 1e-9)
    name = "gradient_similarity"
    assert_same(found.scores[name], expected.scores[name], 1e-8)


@pytest.mark.parametrize("method", ["double_backward", "per_sample", "finite_difference"])
def test_other_methods_are_refused(method):
    with pytest.raises(ValueError, match="forward"):
        MetaReweighter(
            nn.Linear(2, 2), cross_entropy, scorer=GradientSimilarity(method), compile=True
        )


def test_where_nothing_would_be_compiled_it_is_refused():
    with pytest.raises(ValueError, match="no scorer"):
        MetaReweighter(nn.Linear(2, 2), cross_entropy, scorer=Uniform(), compile=True)
    with pytest.raises(TypeError, match="backend"):
        MetaReweighter(nn.Linear(2, 2), cross_entropy, compile=3)


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="needs a C++ compiler")
@pytest.mark.parametrize("name", ["mlp", "batchnorm_train", "dropout", "transformer_eval"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inductor_is_as_exact(name, dtype):
    case = PROBLEMS[name]()
    case.model.to(dtype)
    case.noisy, case.trusted = (
        (x.to(dtype) if x.is_floating_point() else x, y) for x, y in (case.noisy, case.trusted)
    )
    right = expected(case)
    weigh = compiled(case, backend=True)
    for _ in range(2):
        found = weigh.score(case.noisy, case.trusted).scores["gradient_similarity"]
        tolerance = 1e-9 if dtype == torch.float64 else 1e-5
        apart = (found - right).abs().max() / right.abs().max()
        assert apart <= tolerance
