"""Where PyTorch lacks the derivative that a method asked for by name needs, the error says so."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reweight import GradientSimilarity, MetaReweighter
from reweight._derivative.ways import missing_derivatives_named
from tests.comparing import assert_same
from tests.device import accelerators
from tests.helpers import expected_similarity, reweighter
from tests.problems import PROBLEMS

CUDNN = (
    "the derivative for '_cudnn_rnn_backward' is not implemented. Double backwards is not "
    "supported for CuDNN RNNs due to limitations in the CuDNN API."
)


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("forward", "_embedding_bag has no forward-mode derivative"),
        ("double_backward", "_embedding_bag_backward has no second derivative"),
        ("unrolled", "_embedding_bag_backward has no second derivative"),
    ],
)
def test_the_operator_is_named_and_another_method(method, reason):
    model = nn.Sequential(nn.EmbeddingBag(7, 5, mode="max"), nn.Linear(5, 3))
    batch = torch.randint(7, (5, 4)), torch.randint(3, (5,))
    weigh = MetaReweighter(
        model, nn.CrossEntropyLoss(reduction="none"), scorer=GradientSimilarity(method)
    )
    with pytest.raises(NotImplementedError, match=f'"{method}".*{reason}.*"auto"') as found:
        weigh.score(batch, batch)
    assert "cudnn" not in str(found.value)
    assert isinstance(found.value.__cause__, NotImplementedError)


def test_of_a_recurrent_layer_by_cudnn_it_says_how_to_do_without():
    with (
        pytest.raises(NotImplementedError, match=r"cudnn.flags\(enabled=False\)"),
        missing_derivatives_named("double_backward"),
    ):
        raise NotImplementedError(CUDNN)


def test_other_errors_are_left_alone():
    with (
        pytest.raises(NotImplementedError, match=r"^of the user's own$"),
        missing_derivatives_named("double_backward"),
    ):
        raise NotImplementedError("of the user's own")


@pytest.mark.skipif(not accelerators(), reason="cuDNN is of a GPU")
def test_what_it_says_of_cudnn_is_so():
    case = PROBLEMS["lstm"]()
    weigh = reweighter(case, scorer=GradientSimilarity("double_backward"))
    with pytest.raises(NotImplementedError, match=r"_cudnn_rnn.*cudnn.flags\(enabled=False\)"):
        weigh.score(case.noisy, case.trusted)
    expected = expected_similarity(case)
    with torch.backends.cudnn.flags(enabled=False):
        found = weigh.score(case.noisy, case.trusted).scores["gradient_similarity"]
    assert_same(found, expected, 1e-8)
    auto = reweighter(case, scorer=GradientSimilarity())
    with pytest.warns(UserWarning, match="_cudnn_rnn.*per_sample"):
        found = auto.score(case.noisy, case.trusted).scores["gradient_similarity"]
    assert_same(found, expected, 1e-8)
