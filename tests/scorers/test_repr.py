"""Scorers are shown as they would be written."""

from __future__ import annotations

import pytest
from torch import nn

import reweight
from reweight import MetaReweighter
from reweight.lookahead import SGD
from reweight.scorers import as_scorer


def margins(context):
    return context.losses


@pytest.mark.parametrize(
    "written",
    [
        "GradientSimilarity()",
        "GradientSimilarity('layer_products', normalize=True)",
        "GradientSimilarity('finite_difference', renew_every=8)",
        "GradientSimilarity(parameters='2.*', averaging=0.5)",
        "GradientSimilarity('unrolled', inner_steps=3)",
        "GradientSimilarity(lookahead=SGD(lr=0.3))",
        "LastLayerGradient()",
        "LastLayerGradient('head')",
        "LossMagnitude()",
        "Uniform()",
        "RandomWeights()",
        "RandomWeights(seed=3)",
        "GradientSimilarity() / LastLayerGradient()",
        "0.5 * GradientSimilarity() + 0.5 * LossMagnitude()",
    ],
)
def test_what_is_shown_is_what_was_written(written):
    assert repr(eval(written, {**vars(reweight), "SGD": SGD})) == written


def test_a_function_is_shown_by_its_name():
    assert repr(0.5 * as_scorer(margins)) == "0.5 * margins"


def test_a_reweighter_shows_its_scorer():
    reweighter = MetaReweighter(nn.Linear(2, 2), nn.CrossEntropyLoss(reduction="none"))
    assert "scorer=GradientSimilarity() / LastLayerGradient()" in repr(reweighter)
