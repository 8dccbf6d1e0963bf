"""What the first step of a model holds, in which it is found out what passes write into."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reweight import GradientSimilarity, MetaReweighter

CE = nn.CrossEntropyLoss(reduction="none")
LARGE = 2**20 + 1


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator("cpu").manual_seed(0)
    x = torch.randn(6, 4, generator=generator, device="cpu")
    y = torch.randint(0, 3, (6,), generator=generator, device="cpu")
    return x.to(torch.get_default_device()), y.to(torch.get_default_device())


def test_passes_share_the_parameters_numbers_once_they_are_known_to_leave_them_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    seen: list[int] = []
    model[0].register_forward_hook(lambda layer, *_: seen.append(layer.weight.data_ptr()))
    MetaReweighter(model, CE, scorer=GradientSimilarity())(batch(), batch())
    look, *others = seen
    assert look != model[0].weight.data_ptr()
    assert others
    assert {*others} == {model[0].weight.data_ptr()}


class WritesWhereItIsRecorded(nn.Module):
    """The look, which records nothing, does not see it write into what is too large to copy."""

    def __init__(self, *, recorded: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)
        self.recorded = recorded
        self.register_buffer("table", torch.zeros(LARGE))

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x) + self.table[:3]
        if torch.is_grad_enabled() or not self.recorded:
            with torch.no_grad():
                self.table.add_(0.1)
        return y


@pytest.mark.parametrize("recorded", [False, True])
def test_what_begins_to_be_written_into_after_the_look_moves_once(recorded):
    model = WritesWhereItIsRecorded(recorded=recorded)
    reweighter = MetaReweighter(model, CE, scorer=GradientSimilarity())
    for number in range(1, 4):
        step = reweighter(batch(), batch())
        step.loss.backward()
        assert model.table[-1].item() == pytest.approx(0.1 * number)
    alone = MetaReweighter(WritesWhereItIsRecorded(recorded=False), CE, scorer=GradientSimilarity())
    for _ in range(3):
        other = alone(batch(), batch())
        other.loss.backward()
    (found,), (expected,) = step.scores.values(), other.scores.values()
    torch.testing.assert_close(found, expected)
