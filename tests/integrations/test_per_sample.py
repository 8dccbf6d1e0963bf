"""``per_sample``: a loss that reduces, one value a sample."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reweight import LossMagnitude, MetaReweighter
from reweight.integrations._per_sample import per_sample
from reweight.integrations._per_sample.rules import at_once
from tests.compatibility.frameworks import need
from tests.integrations import losses as given

ONE_BY_ONE = {
    "MaskedDice",
    "GeneralizedWassersteinDice",
    "SSIM",
    "Hausdorff",
    "clDice",
    "KL",
    "a function",
    "a subclass",
    "a map",
}


def made(name: str) -> tuple[Any, Tensor, Tensor]:
    if name in given.monai_losses():
        need("monai")
    build, batch = {**given.torch_losses(), **given.monai_losses()}[name]
    torch.manual_seed(0)
    output, target = batch()
    return build(), output.requires_grad_(), target


def alone(loss: Any, output: Tensor, target: Tensor) -> Tensor:
    found = [loss(output[i : i + 1], target[i : i + 1]) for i in range(len(output))]
    return torch.stack([each.mean() for each in found])


@pytest.mark.parametrize("name", [*given.monai_losses(), *given.torch_losses()])
def test_each_value_is_the_loss_of_that_sample_alone_and_so_are_its_gradients(name):
    loss, output, target = made(name)
    expected, found = alone(loss, output, target), per_sample(loss)(output, target)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    weights = torch.arange(1.0, 6.0).to(found)
    for kind in (expected, found):
        assert kind.shape == (5,)
    (left,) = torch.autograd.grad(expected @ weights.to(expected), output)
    (right,) = torch.autograd.grad(found @ weights, output)
    torch.testing.assert_close(right, left, rtol=1e-5, atol=1e-8)
    assert left.abs().sum() > 0


@pytest.mark.parametrize("name", [*given.monai_losses(), *given.torch_losses()])
def test_one_call_serves_the_batch_where_that_is_the_same(name):
    loss, output, target = made(name)
    assert (at_once(loss, output, target) is None) == (name in ONE_BY_ONE)


def test_a_loss_of_the_whole_batch_is_refused():
    need("monai")
    from monai.losses import ContrastiveLoss, DeepSupervisionLoss, DiceCELoss, DiceLoss

    for loss in (DiceLoss(batch=True), DiceCELoss(batch=True)):
        with pytest.raises(ValueError, match=r"DiceLoss\(batch=True\) is one Dice of all samples"):
            per_sample(loss)
    with pytest.raises(ValueError, match="one Dice of all samples"):
        per_sample(DeepSupervisionLoss(DiceLoss(batch=True)))
    with pytest.raises(ValueError, match="ContrastiveLoss holds each sample against the others"):
        per_sample(ContrastiveLoss())
    with pytest.raises(TypeError, match="loss must be a function"):
        per_sample("dice")


def test_a_list_of_outputs_is_taken_apart_by_samples():
    need("monai")
    from monai.losses import DeepSupervisionLoss, DiceCELoss

    torch.manual_seed(0)
    loss = DeepSupervisionLoss(DiceCELoss(to_onehot_y=True, softmax=True))
    output = [torch.randn(4, 2, 8, 8), torch.randn(4, 2, 4, 4)]
    target = torch.randint(2, (4, 1, 8, 8)).float()
    found = per_sample(loss)(output, target)
    for i in range(4):
        one = loss([part[i : i + 1] for part in output], target[i : i + 1])
        torch.testing.assert_close(found[i], one)


def test_what_is_changed_of_the_loss_holds_at_once():
    need("monai")
    from monai.losses import DiceCELoss

    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    each = per_sample(loss)
    torch.manual_seed(0)
    output, target = given.named()
    loss.lambda_ce = 7.0
    loss.dice.smooth_dr = 0.5
    torch.testing.assert_close(each(output, target), alone(loss, output, target))
    assert loss.dice.reduction == "mean"
    assert per_sample(each) is each


def test_a_hook_of_the_loss_is_not_passed_by():
    loss, output, target = made("DiceCE")
    loss.register_forward_hook(lambda _module, _args, found: 2 * found)
    torch.testing.assert_close(per_sample(loss)(output, target), alone(loss, output, target))


def test_the_parameters_of_the_loss_are_those_of_the_module():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            return self.scale * (output - target).square().mean()

    assert [name for name, _ in per_sample(Scaled()).named_parameters()] == ["loss.scale"]


def test_a_target_that_is_ignored_whole_counts_nowhere():
    target = torch.tensor([[0, 1], [-100, -100], [1, 1]])
    model = nn.Conv1d(1, 2, 1)
    reweighter = MetaReweighter(model, per_sample(nn.CrossEntropyLoss()), scorer=LossMagnitude())
    step = reweighter((torch.randn(3, 1, 2), target))
    assert step.counted is not None
    assert step.counted.tolist() == [True, False, True]


def test_tensors_without_samples_are_refused():
    with pytest.raises(ValueError, match="hold one row a sample"):
        per_sample(lambda o, t: (o - t).mean())(torch.ones(3), torch.ones(2))
    with pytest.raises(ValueError, match="must return a number"):
        per_sample(lambda o, _t: o.tolist())(torch.ones(3), torch.ones(3))


@pytest.mark.parametrize("name", ["DiceCE", "DiceFocal, sum", "Hausdorff"])
def test_scores_of_the_reweighter_are_those_of_plain_backward_passes(name):
    loss, _, target = made(name)
    torch.manual_seed(1)
    model = nn.Conv2d(1, 3, 3, padding=1).double()
    images = torch.randn(5, 1, 6, 7).double()
    reweighter = MetaReweighter(model, per_sample(loss))
    report = reweighter.check((images, target), (images[:3] + 1, target[:3]))
    assert report.ok, report
    step = reweighter((images, target), (images[:3] + 1, target[:3]))
    torch.testing.assert_close(step.losses, alone(loss, model(images), target).detach())


def test_without_it_the_library_says_what_is_wrong_with_such_a_loss():
    for name in ("DiceCE", "DiceFocal", "Dice", "GeneralizedDiceFocal"):
        loss, _, _ = made(name)
        with pytest.raises(ValueError, match='reduction="mean": it returns one value'):
            MetaReweighter(nn.Conv2d(1, 3, 1), loss)
