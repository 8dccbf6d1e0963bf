import pytest
import torch
from monai.losses import DiceCELoss
from torch.autograd import forward_ad

from examples.covid3d.train.loss import combo_loss, voxel_loss


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 4, 5, 3, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 2, (3, 4, 5, 3), generator=generator)
    return logits, target


def test_is_the_formula_written_out(batch):
    logits, target = batch
    expected = []
    for scores, labels in zip(logits, target, strict=True):
        p = scores[1].exp() / (scores[0].exp() + scores[1].exp())
        y = labels.double()
        dice = (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
        entropy = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
        expected.append(1 - dice + entropy)
    torch.testing.assert_close(combo_loss(logits, target), torch.stack(expected))


def test_literal_form_is_eq_1_as_printed(batch):
    logits, target = batch
    p = torch.softmax(logits, 1)
    y = torch.nn.functional.one_hot(target, 2).movedim(-1, 1).double()
    axes = (1, 2, 3, 4)
    dice = 2 * (p * y).sum(axes) / (p + y).sum(axes)
    entropy = -(y * p.log()).sum(axes) / target[0].numel()
    torch.testing.assert_close(combo_loss(logits, target, literal=True), 1 - dice + entropy)
    # Which is why it is not the default: its "Dice" is the mean probability of the true class.
    p_true = p.gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(dice, p_true.mean((1, 2, 3)))


def test_agrees_with_monai_sample_by_sample(batch):
    logits, target = batch
    monai = DiceCELoss(
        include_background=False, to_onehot_y=True, softmax=True, smooth_nr=1.0, smooth_dr=1.0
    )
    expected = [monai(x[None], y[None, None]) for x, y in zip(logits, target, strict=True)]
    torch.testing.assert_close(combo_loss(logits, target), torch.stack(expected))


@pytest.mark.parametrize("literal", [False, True])
def test_empty_masks_give_finite_losses_that_fall_as_the_prediction_empties(literal):
    target = torch.zeros(2, 8, 8, 8, dtype=torch.long)
    logits = torch.zeros(2, 2, 8, 8, 8)
    logits[1, 0] = 20
    logits.requires_grad_()
    losses = combo_loss(logits, target, literal=literal)
    assert losses.isfinite().all()
    assert losses[1] < 1e-3 < losses[0]
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert gradient.isfinite().all()


def test_each_sample_has_its_own_loss(batch):
    logits, target = batch
    losses = combo_loss(logits, target)
    assert losses.shape == (3,)
    for index in range(3):
        torch.testing.assert_close(
            losses[index : index + 1],
            combo_loss(logits[index : index + 1], target[index : index + 1]),
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_reduced_in_float32(dtype):
    # 64^3 voxels overflow a float16 sum.
    logits = torch.zeros(1, 2, 64, 64, 64, dtype=dtype)
    target = torch.ones(1, 64, 64, 64, dtype=torch.long)
    losses = combo_loss(logits, target)
    assert losses.dtype == torch.float32
    expected = 1 - 2 * 0.5 / 1.5 + torch.tensor(0.5).log().neg().item()
    assert losses.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("literal", [False, True])
def test_gradients_backward_forward_and_twice(batch, literal):
    logits, target = batch
    logits = logits[:2, :, :2, :2, :2].clone().requires_grad_()
    target = target[:2, :2, :2, :2]

    def loss(x):
        return combo_loss(x, target, literal=literal)

    assert torch.autograd.gradcheck(loss, logits, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(loss, logits)


def test_forward_mode_agrees_with_backward(batch):
    logits, target = batch
    direction = torch.ones_like(logits).cumsum(-1)
    with forward_ad.dual_level():
        losses = combo_loss(forward_ad.make_dual(logits, direction), target)
        along = forward_ad.unpack_dual(losses).tangent
    leaf = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(combo_loss(leaf, target).sum(), leaf)
    torch.testing.assert_close(along, (gradient * direction).sum((1, 2, 3, 4)))


def test_shapes_that_disagree_are_refused():
    with pytest.raises(ValueError, match="disagree"):
        combo_loss(torch.zeros(2, 2, 4, 4, 4), torch.zeros(2, 4, 4, 5))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_voxel_loss_is_the_cross_entropy_of_each_voxel(batch, dtype):
    logits, target = batch
    logits = logits.to(dtype)
    losses = voxel_loss(logits, target)
    expected = torch.nn.functional.cross_entropy(logits.to(losses.dtype), target, reduction="none")
    assert losses.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(losses, expected)
    leaf = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: voxel_loss(x, target[:1, :2, :2, :2]),
        leaf[:1, :, :2, :2, :2].detach().requires_grad_(),
        check_forward_ad=True,
    )


def test_soft_labels_are_cross_entropy_with_probabilities(batch):
    logits, target = batch
    soft = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)).double()
    both = torch.stack([1 - soft, soft], 1)
    expected = torch.nn.functional.cross_entropy(logits, both, reduction="none")
    torch.testing.assert_close(voxel_loss(logits, soft), expected)
    p = torch.softmax(logits, 1)[:, 1]
    dice = (2 * (p * soft).sum((1, 2, 3)) + 1) / ((p + soft).sum((1, 2, 3)) + 1)
    torch.testing.assert_close(combo_loss(logits, soft), 1 - dice + expected.mean((1, 2, 3)))
    torch.testing.assert_close(combo_loss(logits, target.double()), combo_loss(logits, target))
