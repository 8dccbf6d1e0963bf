"""What the scorer keeps from step to step can be saved, and a later step goes on from it."""

from __future__ import annotations

import pickle

import torch
from torch import nn

from reweight import LastLayerGradient, MetaReweighter

CE = nn.CrossEntropyLoss(reduction="none")


def forward(model, batch):
    """Not provable from the graph, so that every step draws codes."""
    return CE(model(batch[0]).flip(0).flip(0), batch[1])


def test_a_resumed_scorer_goes_on_as_one_that_never_stopped():
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    batches = [(torch.randn(20, 6), torch.randint(3, (20,))) for _ in range(8)]
    whole, first, second = (LastLayerGradient() for _ in range(3))

    def scores(scorer, some):
        weigh = MetaReweighter(model, forward=forward, scorer=scorer)
        return [weigh.score(batch).scores["last_layer_gradient"] for batch in some]

    expected = scores(whole, batches)
    found = scores(first, batches[:4])
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    found += scores(second, batches[4:])
    assert all(map(torch.equal, found, expected))
    assert second.state_dict() == whole.state_dict()
    assert second.state_dict()["last"] == "2"


def test_a_saved_state_does_not_change_with_later_steps():
    model = nn.Linear(6, 3)
    scorer = LastLayerGradient()
    weigh = MetaReweighter(model, CE, scorer=scorer)
    batch = torch.randn(20, 6), torch.randint(3, (20,))
    weigh(batch)
    saved = scorer.state_dict()
    before = pickle.dumps(saved)
    weigh(batch)
    assert pickle.dumps(saved) == before
    assert scorer.state_dict() != saved
