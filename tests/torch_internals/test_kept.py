"""What the library relies on about what operators keep for their backward pass."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from reweight import _torch_internals as internals
from tests.torch_internals.about import about

f64 = torch.float64


@about(
    "NativeBatchNormBackward0._saved_result1",
    "NativeBatchNormBackward0._saved_result2",
    "CudnnBatchNormBackward0._saved_result1",
    "CudnnBatchNormBackward0._saved_result2",
)
def test_a_batch_norm_keeps_the_mean_and_the_inverse_deviation():
    x = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    one = torch.ones(3, dtype=torch.float64)  # with it cuDNN's own kernel runs, on a GPU
    out = F.batch_norm(x, None, None, one, one - 1, training=True, eps=1e-3)
    found = internals.batch_norm_statistics(out.grad_fn)
    if found is None:  # MIOpen has kernels of its own
        pytest.skip(f"not PyTorch's own kernel on {x.device}")
    mean, scale = found
    flat = x.detach().transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean, flat.mean(1))
    torch.testing.assert_close(scale, (flat.var(1, unbiased=False) + 1e-3).rsqrt())


@about("NativeBatchNormBackward0._saved_result1")
def test_no_other_node_has_batch_statistics():
    x = torch.randn(5, 4, requires_grad=True)
    assert internals.batch_norm_statistics(F.layer_norm(x, (4,)).grad_fn) is None
    assert internals.batch_norm_statistics(None) is None


@about("NativeLayerNormBackward0._saved_result1", "NativeLayerNormBackward0._saved_result2")
def test_a_layer_norm_keeps_the_mean_and_the_inverse_deviation_of_each_row():
    x = torch.randn(5, 3, 4, dtype=f64, requires_grad=True)
    found = internals.layer_norm_statistics(F.layer_norm(x, (4,), eps=1e-3).grad_fn)
    assert found is not None
    torch.testing.assert_close(found[0].squeeze(-1), x.detach().mean(-1))
    deviation = (x.detach().var(-1, unbiased=False) + 1e-3).sqrt()
    torch.testing.assert_close(found[1].squeeze(-1), 1 / deviation)
    assert internals.layer_norm_statistics((x * 2).grad_fn) is None


@about("NativeGroupNormBackward0._saved_result1", "NativeGroupNormBackward0._saved_result2")
def test_a_group_norm_keeps_those_of_each_samples_groups():
    x = torch.randn(5, 4, 3, dtype=f64, requires_grad=True)
    found = internals.group_norm_statistics(F.group_norm(x, 2, eps=1e-3).grad_fn)
    assert found is not None
    groups = x.detach().reshape(5, 2, 6)
    torch.testing.assert_close(found[0], groups.mean(-1))
    torch.testing.assert_close(found[1], (groups.var(-1, unbiased=False) + 1e-3).rsqrt())
    assert internals.group_norm_statistics((x * 2).grad_fn) is None


@about("MulBackward0._saved_other", "NativeDropoutBackward0._saved_result1")
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("dropout", [F.dropout, F.dropout2d])
def test_a_dropout_keeps_its_mask(dropout, inplace):
    x = torch.rand(5, 4, 3, 2, dtype=f64).requires_grad_()
    out = dropout(x * 1, 0.4, inplace=inplace)
    found = internals.dropout_mask(out.grad_fn)
    assert found is not None
    mask, scaled = found
    torch.testing.assert_close(x * mask / (1 if scaled else 0.6), out)
    assert internals.dropout_mask(x.exp().grad_fn) is None


@about("SafeSoftmaxBackward0._saved_result")
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_attention_that_is_not_fused_keeps_its_weights_and_the_mask_of_its_dropout(p):
    q, k, v = (torch.randn(2, 3, n, 4, dtype=f64).requires_grad_() for n in (5, 6, 6))
    with sdpa_kernel(SDPBackend.MATH):
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=p)
    found = internals.attention_weights(out.grad_fn)
    assert found is not None
    weights, mask = found
    torch.testing.assert_close(weights, (q @ k.mT / 2).softmax(-1))
    assert (mask is None) == (p == 0)
    torch.testing.assert_close((weights if mask is None else weights * mask) @ v, out)
    for other in (q @ k.mT, (q @ k.mT).softmax(-1), (q @ k.mT).softmax(-1) @ v):
        assert internals.attention_weights(other.grad_fn) is None


@about("NativeDropoutBackward0._saved_p")
@pytest.mark.parametrize("p", [0.4, 1.0])
def test_attention_whose_dropout_is_fused_keeps_it_as_booleans(p):
    q, k, v = (torch.randn(6, n, 4, dtype=f64).requires_grad_() for n in (5, 7, 7))
    weights = torch._safe_softmax(q @ k.mT, -1)  # as the kernel for GPUs is made
    dropped, kept = torch.native_dropout(weights, p, True)
    out = torch.ops.aten._unsafe_view(
        torch.bmm(dropped.expand(6, 5, 7).view(6, 5, 7), v), (2, 3, 5, 4)
    )
    found = internals.attention_weights(out.grad_fn)
    assert found is not None
    torch.testing.assert_close(found[0], weights)
    # Booleans times a number would be in float32, and the factor rounded to it.
    assert torch.equal(found[1], kept.to(f64) * (0.0 if p == 1 else 1 / (1 - p)))


@about(
    "ScaledDotProductEfficientAttentionBackward0._saved_dropout_p",
    "ScaledDotProductEfficientAttentionBackward0._saved_philox_seed",
    "ScaledDotProductEfficientAttentionBackward0._saved_philox_offset",
    "torch.ops.aten._fill_mem_eff_dropout_mask_",
)
@pytest.mark.parametrize(("queries", "keys"), [(5, 7), (64, 64), (130, 33)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_dropout_of_fused_attention_can_be_drawn_again(dtype, queries, keys):
    q, k, v = (torch.randn(2, 3, n, 8, dtype=dtype).requires_grad_() for n in (queries, keys, keys))
    torch.rand(3)  # from another place of the stream than its beginning
    with sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=0.3)
    mask = internals.attention_dropout(out.grad_fn, out, queries, keys)
    if mask is None and q.device.type != "cuda":
        names = dir(torch._C._functions.ScaledDotProductEfficientAttentionBackward0)
        assert {"_saved_dropout_p", "_saved_philox_seed", "_saved_philox_offset"} < set(names)
        assert torch.ops.aten._fill_mem_eff_dropout_mask_.default
        pytest.skip(f"no such kernel on {q.device}")
    assert mask is not None
    weights = (q.float() @ k.float().mT / 8**0.5).softmax(-1)
    expected = (weights * mask.float()) @ v.float()
    torch.testing.assert_close(out.float(), expected, rtol=2e-2, atol=2e-2)


@about(
    "MaxPool2DWithIndicesBackward0._saved_result1", "MaxPool3DWithIndicesBackward0._saved_result1"
)
def test_a_pooling_keeps_which_numbers_it_has_taken():
    x = torch.randn(2, 3, 4, 4, 4, requires_grad=True)
    for pool, given in ((F.max_pool2d, x[0]), (F.max_pool3d, x)):
        out, expected = pool(given, 2, return_indices=True)
        for found in (out, pool(given, 2)):
            indices = internals.pooled_from(found.grad_fn)
            if indices is None:
                pytest.skip(f"not PyTorch's own kernel on {x.device}")
            assert torch.equal(indices, expected)
    assert internals.pooled_from(x.exp().grad_fn) is None


@about("SiluBackward0._saved_self")
@pytest.mark.parametrize("activation", [F.silu, F.mish, F.hardswish, F.hardsigmoid])
def test_an_activation_in_place_keeps_what_it_wrote_over(activation):
    x = torch.randn(5, 4, requires_grad=True)
    before = x * 1
    given = before.detach().clone()
    found = internals.saved_input(activation(before, inplace=True).grad_fn)
    assert found is not None
    assert torch.equal(found, given)
    assert internals.saved_input(x.exp().grad_fn) is None
