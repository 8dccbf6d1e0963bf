"""Nothing that may mix samples is taken for independent, and the reason is named."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reweight import GradientSimilarity
from reweight._derivative.layer_products import LayerProducts, NotByLayers, other
from reweight._isolation.graph_leaves import nodes_behind
from tests.comparing import assert_same
from tests.device import autocast
from tests.helpers import expected_similarity, reweighter
from tests.problems import CLASSES, PROBLEMS, Case, classified, cross_entropy, float64, mlp


class Coupled(nn.Module):
    """A network with something in its middle."""

    def __init__(self, middle) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 6), nn.Linear(6, CLASSES)
        self.gate = nn.Parameter(torch.tensor(1e-13))
        self.middle = middle

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(torch.tanh(self.body(x)), self.gate))


def contrastive(h: Tensor, _: Tensor) -> Tensor:
    return (h @ h.t()).softmax(1) @ h.detach()


MIDDLES = {
    "attention over the batch": lambda h, _: F.scaled_dot_product_attention(h, h, h),
    "similarities": contrastive,
    "centred in the batch": lambda h, _: h - h.mean(0),
    "centred by a gate that is nearly shut": lambda h, gate: h - gate * h.mean(0),
    "standardised": lambda h, _: (h - h.mean(0, keepdim=True)) / h.std(0, keepdim=True),
    "softmax over the batch": lambda h, _: h.softmax(0),
    "running sum": lambda h, _: h.cumsum(0),
    "permuted": lambda h, _: h[torch.tensor([1, 2, 3, 4, 0])],
    "rolled": lambda h, _: torch.cat([h[1:], h[:1]]),
    "flipped": lambda h, _: h.flip(0),
    "sorted": lambda h, _: h.sort(0).values,
    "the largest of the batch": lambda h, _: h + h.amax(0),
    "one for all": lambda h, _: h + h[0],
    "reshaped across samples": lambda h, _: h.t().reshape(h.shape) + h,
    "gathered from others": lambda h, _: h.gather(0, torch.zeros(5, 6, dtype=torch.long)),
    "lengths by one norm": lambda h, _: h / h.norm(),
    "samples as channels": lambda h, _: F.avg_pool1d(h.t()[None], 3, 1, 1)[0].t(),
    "an operator unknown": lambda h, _: torch.linalg.inv(h @ h.t() + 9 * torch.eye(5)) @ h,
}


@pytest.mark.parametrize("what", MIDDLES)
def test_coupled_samples_are_found(what):
    with float64():
        case = Case(Coupled(MIDDLES[what]), last="head", loss=cross_entropy, **classified(6))
    losses = case.losses(case.model, case.noisy)
    with pytest.raises(NotByLayers):
        LayerProducts(losses, dict(case.model.named_parameters()))


def test_a_loss_over_the_batch_is_found():
    def info_nce(output: Tensor, _: Tensor) -> Tensor:
        return F.cross_entropy(output @ output.t(), torch.arange(len(output)), reduction="none")

    with float64():
        case = Case(nn.Sequential(nn.Linear(6, 4)), last="0", loss=info_nce, **classified(6))
    weigh = reweighter(case, scorer=GradientSimilarity("layer_products"))
    with pytest.raises(RuntimeError, match=r"layer_products.*does not go here"):
        weigh(case.noisy, case.noisy)


@pytest.mark.parametrize("track", [True, False])
def test_batch_norm_is_refused_in_train_mode_and_taken_in_eval_mode_with_running_statistics(track):
    with float64():
        norm = nn.BatchNorm1d(8, track_running_stats=track)
        model = nn.Sequential(nn.Linear(6, 8), norm, nn.Tanh(), nn.Linear(8, CLASSES))
        case = Case(model, last="3", loss=cross_entropy, **classified(6))
    weigh = reweighter(case, scorer=GradientSimilarity("layer_products"))
    with pytest.raises(RuntimeError, match="batch normalisation in train mode"):
        weigh(case.noisy, case.trusted)
    model.eval()
    if not track:
        with pytest.raises(RuntimeError, match="batch normalisation in train mode"):
            weigh(case.noisy, case.trusted)
        return
    step = weigh(case.noisy, case.trusted)
    assert_same(step.scores["gradient_similarity"], expected_similarity(case), 1e-9)


def test_a_training_goes_on_after_a_refusal():
    case = PROBLEMS["batchnorm_train"]()
    before = {n: b.clone() for n, b in case.model.named_buffers()}
    weigh = reweighter(case, scorer=GradientSimilarity("layer_products"))
    with pytest.raises(RuntimeError):
        weigh(case.noisy, case.trusted)
    assert before.keys() == dict(case.model.named_buffers()).keys()
    case.model.eval()
    weigh(case.noisy, case.trusted).loss.backward()


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        return 3 * grad * ctx.saved_tensors[0] ** 2


def refused(case: Case, why: str, **options) -> None:
    weigh = reweighter(case, scorer=GradientSimilarity("layer_products"), **options)
    with pytest.raises(RuntimeError, match=why):
        weigh(case.noisy, case.trusted)


def test_a_function_of_the_users_own_may_do_anything():
    with float64():
        model = Coupled(lambda h, _: Cube.apply(h))
        case = Case(model, last="head", loss=cross_entropy, **classified(6))
    refused(case, "CubeBackward")


def test_inputs_that_require_a_gradient_are_refused():
    case = mlp()
    case.noisy[0].requires_grad_()
    refused(case, "requires a gradient and is no parameter")


def test_hooks_on_activations_would_see_unweighted_gradients():
    with float64():
        model = Coupled(lambda h, _: (h.register_hook(lambda _: None), h)[1])
        case = Case(model, last="head", loss=cross_entropy, **classified(6))
    refused(case, "gradient of an activation")
    case.model.middle = lambda h, _: (h.retain_grad(), h)[1]
    refused(case, "gradient of an activation")


def test_backward_hooks_of_modules_are_refused():
    case = mlp()
    case.model[2].register_full_backward_hook(lambda *_: None)
    refused(case, "BackwardHookFunction|hook")


def test_weights_per_element_are_refused():
    refused(PROBLEMS["voxel_map"](), "per element", granularity="element")


def test_autocast_is_refused():
    case = mlp()
    with autocast(dtype=torch.bfloat16):
        refused(case, "autocast")


def test_scores_under_every_label_are_not_known():
    case = mlp()
    with pytest.raises(ValueError, match="score under every label"):
        reweighter(case, scorer=GradientSimilarity("layer_products"), label_scores=True)


def test_one_sample_has_nothing_to_be_told_from():
    case = mlp()
    case.noisy = tuple(x[:1] for x in case.noisy)
    refused(case, "single sample")


def test_a_parameter_with_a_row_for_each_sample_is_refused():
    with float64():
        model = Coupled(lambda h, _: h)
        model.rows = nn.Parameter(torch.randn(5, 6))
        model.middle = lambda h, _: h * model.rows
        case = Case(model, last="head", loss=cross_entropy, **classified(6))
    with pytest.raises(NotByLayers, match="part for each sample"):
        LayerProducts(case.losses(model, case.noisy), dict(model.named_parameters()))


class Divided(nn.Module):
    """Layers of an operator that no product is written for, each with a weight of its own."""

    def __init__(self, depth: int, *, shared: bool = False) -> None:
        super().__init__()
        weights = [nn.Parameter(torch.rand(6) + 1) for _ in range(1 if shared else depth)]
        self.weights = nn.ParameterList(weights * (depth // len(weights)))
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for weight in self.weights:
            x = (x / weight).tanh()
        return self.head(x)


def divided(depth: int, **options: bool) -> LayerProducts:
    with float64():
        case = Case(Divided(depth, **options), last="head", loss=cross_entropy, **classified(6))
    losses = case.losses(case.model, case.noisy)
    return LayerProducts(losses, dict(case.model.named_parameters()))


def test_weights_used_once_are_not_looked_for_behind_every_use(monkeypatch):
    seen = []

    def counted(ends):
        for node in nodes_behind(ends):
            seen.append(node.name())
            yield node

    monkeypatch.setattr(other, "nodes_behind", counted)
    depth = 40
    divided(depth)
    assert len(seen) <= 10 * depth


def test_a_weight_used_again_by_what_comes_before_is_refused():
    with pytest.raises(NotByLayers, match="DivBackward0 is given a weight for is used by what"):
        divided(2, shared=True)


def test_an_embedding_that_counts_its_indices_is_refused():
    with float64():
        model = nn.Sequential(nn.Embedding(7, 6, scale_grad_by_freq=True), nn.Flatten())
        model.append(nn.Linear(12, CLASSES))
        words = torch.randint(7, (5, 2))
        case = Case(model, (words, torch.arange(5) % 3), (words, torch.arange(5) % 3), last="2")
        case.loss = cross_entropy
    refused(case, "scale_grad_by_freq")
