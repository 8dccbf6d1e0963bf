"""Root-mean-square norms as GPUs have them: one operator, that keeps samples apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reweight import GradientSimilarity, LastLayerGradient, MetaReweighter
from reweight._derivative.layer_products import LayerProducts, NotByLayers
from reweight._isolation.graph_leaves import nodes_of
from tests import oracle
from tests.comparing import assert_same
from tests.derivative.beside_training.observing import observe
from tests.derivative.layer_products.models import MORE
from tests.derivative.layer_products.test_architectures import per_sample
from tests.fused import fused_rms_norm
from tests.helpers import expected_similarity, reweighter
from tests.last_layer.test_proof import WEIGHTS, behind, ce
from tests.problems import CLASSES, Case, classified, cross_entropy, float64


@pytest.fixture(autouse=True)
def fused():
    with fused_rms_norm():
        yield


def test_products_equal_a_backward_pass_a_sample():
    case = MORE["odd_uses"]()
    parameters = oracle.trainable(case.model)
    losses = case.sample_losses(case.model, case.noisy)
    products = LayerProducts(losses, parameters)
    assert "FusedRmsNormBackward0" in {node.name() for node in nodes_of(losses)}
    rows = per_sample(losses, list(parameters.values()))
    v = {name: torch.randn_like(p) for name, p in parameters.items()}
    assert_same(products.scores(v), rows @ oracle.flat(list(v.values())), 1e-10)
    assert_same(products.norms(list(parameters)), rows.norm(dim=1), 1e-10)
    found = products.gradients(torch.ones(5, dtype=losses.dtype))
    assert_same(oracle.flat([found[name] for name in parameters]), rows.sum(0), 1e-10)


@pytest.mark.parametrize("method", ["layer_products", "auto", "double_backward", "per_sample"])
@pytest.mark.filterwarnings("ignore:GradientSimilarity")
def test_every_way_gives_the_same_scores(method):
    case = MORE["odd_uses"]()
    expected = expected_similarity(case)
    weigh = reweighter(case, scorer=GradientSimilarity(method))
    step = weigh(case.noisy, case.trusted)
    assert_same(step.scores["gradient_similarity"], expected, 1e-8)


def test_one_over_the_whole_batch_is_refused():
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(6, 4), nn.Linear(4, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            h = self.body(x)
            return self.head(F.rms_norm(h, h.shape))

    with float64():
        case = Case(Whole(), last="head", loss=cross_entropy, **classified(6))
    losses = case.sample_losses(case.model, case.noisy)
    with pytest.raises(NotByLayers, match="FusedRmsNormBackward0 may mix samples"):
        LayerProducts(losses, oracle.trainable(case.model))


def test_tangents_go_through_it_beside_the_training_pass():
    x, w = torch.randn(3, 2, 4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    observe(lambda x, w: F.rms_norm(x, (4,), w, 1e-3) + F.rms_norm(x, (2, 4)), x, w)


@pytest.mark.parametrize(
    ("shape", "weight", "apart"), [((4,), WEIGHTS, True), ((4,), None, True), ((4, 4), None, False)]
)
def test_the_last_layer_behind_one_of_rows_keeps_samples_apart(shape, weight, apart):
    found = behind(nn.Linear(3, 4), torch.randn(4, 3), lambda z: ce(F.rms_norm(z, shape, weight)))
    assert "FusedRmsNormBackward0" in found.names
    assert found.proven == apart


def test_scores_of_the_last_layer_go_without_a_warning(recwarn):
    with float64():
        model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 4), nn.RMSNorm(4))
        noisy = torch.randn(5, 6), torch.randint(4, (5,))
    weigh = MetaReweighter(
        model, nn.CrossEntropyLoss(reduction="none"), scorer=LastLayerGradient(model[2])
    )
    found = weigh(noisy, noisy).scores["last_layer_gradient"]
    rows = oracle.per_sample_gradients(
        model,
        lambda m, b: cross_entropy(m(b[0]), b[1]),
        noisy,
        list(model[2].parameters()),
    )
    assert_same(found.double(), rows.norm(dim=1), 1e-8)
    assert not recwarn.list
