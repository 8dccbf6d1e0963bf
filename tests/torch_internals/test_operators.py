"""What the library relies on about operators and modes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from reweight import _torch_internals as internals
from tests.torch_internals.about import about


@torch.library.custom_op("reweight_tests::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return 2 * x


@about(
    "torch._ops.OpOverload",
    "torch._ops.OpOverloadPacket",
    "OpOverloadPacket._qualified_op_name",
)
def test_an_operator_tells_whose_it_is():
    assert not internals.is_custom_operator(torch.ops.aten.add)
    assert not internals.is_custom_operator(torch.ops.aten.add.Tensor)
    assert not internals.is_custom_operator(torch.add)
    assert internals.is_custom_operator(torch.ops.reweight_tests.twice)
    assert internals.is_custom_operator(torch.ops.reweight_tests.twice.default)


class Plain(Tensor):
    """Changes nothing about operators."""


class Opaque(Tensor):
    __torch_function__ = torch._C._disabled_torch_function_impl


class Changing(Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return super().__torch_function__(func, types, args, kwargs)


@about("torch._C._disabled_torch_function_impl")
def test_parameters_and_plain_subclasses_change_no_operator():
    for kind in (Tensor, nn.Parameter, Plain, Opaque):
        assert not internals.handles_operators_itself(kind), kind
    assert internals.handles_operators_itself(Changing)


class SeesCalls(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.calls.append(func)
        return func(*args, **(kwargs or {}))


class SeesKernels(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


@about("torch._C._len_torch_dispatch_stack")
def test_a_dispatch_mode_is_seen_while_it_is_active():
    assert not internals.dispatch_modes_in_place()
    with SeesKernels():
        assert internals.dispatch_modes_in_place()
    assert not internals.dispatch_modes_in_place()


@about("torch.overrides._get_current_function_mode_stack", "torch.utils._device.DeviceContext")
def test_function_modes_are_listed_without_a_default_device():
    before = internals.function_modes()
    with torch.device("cpu"), SeesCalls() as mode:
        assert internals.function_modes() == [*before, mode]
    with torch.device("cpu"):
        assert internals.function_modes() == before


@about("torch._C.DisableTorchFunctionSubclass")
def test_a_subclass_is_a_plain_tensor_where_subclasses_are_disabled():
    x = torch.ones(2).as_subclass(Changing)
    with SeesCalls() as mode:
        with internals.without_subclasses():
            y = x + 1
        assert type(y) is Tensor
        assert mode.calls, "modes see operators all the same"


@about("torch._C.DisableTorchFunction")
def test_no_mode_sees_an_operator_where_all_are_disabled():
    x = torch.ones(2)
    with SeesCalls() as mode:
        with internals.without_function_modes():
            x.add(1)
        assert not mode.calls
        x.add(1)
        assert len(mode.calls) == 1


@about("Tensor.data.__get__")
def test_the_reading_of_data_is_told_from_every_other_call():
    with SeesCalls() as mode:
        x = torch.ones(2)
        x.data.shape  # noqa: B018
        x.grad  # noqa: B018
        x.detach()
    assert [internals.reads_data(call) for call in mode.calls].count(True) == 1
    assert not internals.reads_data(torch.ones)


@about("torch.autograd.forward_ad._set_fwd_grad_enabled")
def test_tangents_stop_where_forward_mode_is_disabled():
    with forward_ad.dual_level():
        x = forward_ad.make_dual(torch.ones(2), torch.ones(2))
        with internals.forward_mode_enabled(False):
            constant = x * 3
        followed = x * 3
        assert forward_ad.unpack_dual(constant).tangent is None
        assert forward_ad.unpack_dual(followed).tangent.tolist() == [3, 3]


@about("torch._C._functorch.is_functorch_wrapped_tensor", "torch._C._functorch.get_unwrapped")
def test_what_a_transform_wraps_is_told_and_unwrapped():
    seen = []

    def look(x):
        seen.append(x)
        inner = internals.unwrapped_tensor(x)
        assert internals.is_wrapped(x)
        assert not internals.is_wrapped(inner)
        assert inner.shape[-1] == 3
        return x.sin().sum()

    x = torch.randn(4, 3)
    torch.func.vmap(torch.func.hessian(look))(x)
    torch.func.jvp(look, (x,), (x,))
    assert len(seen) == 2
    assert not internals.is_wrapped(x)
    assert internals.unwrapped_tensor(x) is x


@about("torch.ops.aten._softmax_backward_data")
def test_the_jacobian_of_a_softmax_is_symmetric():
    x, dx = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    expected = torch.func.jvp(lambda x: x.softmax(-1), (x,), (dx,))[1]
    torch.testing.assert_close(internals.softmax_backward(dx, x.softmax(-1), -1), expected)


@about("torch.ops.aten._safe_softmax")
def test_a_safe_softmax_of_nothing_is_zero():
    x = torch.tensor([[1.0, 2.0], [-torch.inf, -torch.inf]])
    found = internals.safe_softmax(x, -1)
    assert torch.equal(found[1], torch.zeros(2))
    torch.testing.assert_close(found[0], x[0].softmax(-1))


@about("functional.multi_head_attention_forward.__globals__")
def test_the_body_of_attention_is_seen_by_modes_and_computes_the_same():
    seen = []

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func, _types, args=(), kwargs=None):
            seen.append(func)
            if func is F.multi_head_attention_forward:
                with self:
                    return internals.body_of(func)(*args, **(kwargs or {}))
            return func(*args, **(kwargs or {}))

    layer, x = nn.MultiheadAttention(4, 2), torch.randn(3, 2, 4)
    expected = layer(x, x, x)
    with Mode():
        found = layer(x, x, x)
    assert all(map(torch.equal, found, expected))
    assert seen.count(F.multi_head_attention_forward) == 1
    assert F.linear in seen
    assert F.softmax in seen


@about("torch._C._set_grad_enabled")
def test_recording_is_turned_off_and_on():
    x = torch.ones(2, requires_grad=True)
    try:
        internals.record_gradients(False)
        assert not torch.is_grad_enabled()
        assert not (x * 2).requires_grad
    finally:
        internals.record_gradients(True)
    assert (x * 2).requires_grad


@about("torch._C._is_any_autocast_enabled")
def test_autocast_on_any_device_is_seen():
    assert not internals.any_autocast_enabled()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert internals.any_autocast_enabled()
        with torch.autocast("cpu", enabled=False):
            assert not internals.any_autocast_enabled()
    assert not internals.any_autocast_enabled()
