"""What the library relies on about modules."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
)
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from reweight import _torch_internals as internals
from tests.torch_internals.about import about


@about("Module._parameters")
def test_slots_hold_a_modules_own_parameters_and_empty_ones():
    outer = nn.Sequential(nn.Linear(3, 3, bias=False))
    assert not internals.parameter_slots(outer)
    slots = internals.parameter_slots(outer[0])
    assert slots["weight"] is outer[0].weight
    assert slots["bias"] is None


@about(
    "Module._parameters",
    "Module._buffers",
    "Module._modules",
    "Module._non_persistent_buffers_set",
)
def test_what_is_put_into_a_slot_is_what_the_module_has():
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False))
    module.register_buffer("passing", torch.zeros(1), persistent=False)
    parameters, buffers, modules, not_saved = (vars(module)[name] for name in internals.SLOTS)
    assert set(internals.SLOTS) == {*internals.TENSOR_SLOTS, "_modules", *internals.SLOTS[3:]}
    assert (dict(parameters), set(buffers), set(not_saved)) == ({}, {"passing"}, {"passing"})
    assert list(modules) == ["0", "1"]
    buffers["passing"] = other = torch.ones(3)
    assert module.passing is other
    vars(module[0])["_parameters"]["weight"] = weight = torch.ones(3, 3)  # no Parameter
    assert module[0].weight is weight
    not_saved.clear()
    assert "passing" in module.state_dict()
    modules["1"] = identity = nn.Identity()
    assert module[1] is identity


HOOKS = {
    "register_forward_hook": False,
    "register_forward_pre_hook": False,
    "register_full_backward_hook": True,
    "register_full_backward_pre_hook": True,
}


@about(
    "Module._forward_hooks",
    "Module._forward_pre_hooks",
    "Module._backward_hooks",
    "Module._backward_pre_hooks",
)
@pytest.mark.parametrize("register", HOOKS)
def test_hooks_of_every_kind_are_seen_and_stand_in_their_slots(register):
    module = nn.Linear(2, 2)
    assert not internals.has_hooks(module)

    def hook(*_):
        return None

    handle = getattr(module, register)(hook)
    assert internals.has_hooks(module)
    own = vars(module)
    assert any(hook in own[name].values() for name in internals.HOOK_SLOTS if own[name])
    backward = any(hook in own[name].values() for name in internals.BACKWARD_HOOK_SLOTS)
    assert backward == HOOKS[register]
    handle.remove()
    assert not internals.has_hooks(module)


@about("Module._backward_hooks", "Module._backward_pre_hooks")
@pytest.mark.parametrize("register", [name for name, backward in HOOKS.items() if backward])
def test_a_backward_hook_taken_from_its_slot_does_not_run(register):
    module, ran = nn.Linear(2, 2), []
    getattr(module, register)(lambda *_: ran.append(1))
    for name in internals.BACKWARD_HOOK_SLOTS:
        vars(module)[name].clear()
    module(torch.ones(1, 2)).sum().backward()
    assert not ran


@about(
    "torch.nn.modules.module._global_backward_hooks",
    "torch.nn.modules.module._global_backward_pre_hooks",
)
@pytest.mark.parametrize(
    "register", [register_module_full_backward_hook, register_module_full_backward_pre_hook]
)
def test_backward_hooks_of_all_modules_are_seen(register):
    assert not internals.backward_hooks_of_all_modules()
    handle = register(lambda *_: None)
    assert internals.backward_hooks_of_all_modules()
    handle.remove()
    assert not internals.backward_hooks_of_all_modules()


class Shifted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("shift", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x + self.shift


@about("ScriptModule._c")
@pytest.mark.parametrize("name", ["weight", "shift"])
def test_a_scripted_module_computes_with_the_tensor_put_into_its_slot(name):
    module = torch.jit.script(Shifted())
    own = getattr(module, name)
    other = torch.full((2,), 5.0, requires_grad=True)
    internals.set_scripted(module, name, other)
    out = module(torch.ones(2))
    assert out.tolist() == ([5, 5] if name == "weight" else [6, 6])
    assert torch.autograd.grad(out.sum(), other)[0].tolist() == [1, 1]
    internals.set_scripted(module, name, own)
    assert getattr(module, name) is own or torch.equal(getattr(module, name), own)
    assert module(torch.ones(2)).tolist() == [1, 1]


class Twice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


@about("torch.nn.utils.parametrize._cache")
def test_what_parametrize_caches_stays_outside_and_comes_back():
    layer = nn.Linear(2, 2)
    parametrize.register_parametrization(layer, "weight", Twice())
    with parametrize.cached():
        outside = layer.weight
        with internals.nothing_cached_by_parametrize():
            inside = layer.weight
            assert inside is not outside
            assert layer.weight is inside, "the body has a cache of its own"
        assert layer.weight is outside


@about("Conv._reversed_padding_repeated_twice")
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
@pytest.mark.parametrize("padding", [1, 2, "same"])
def test_the_padding_of_a_convolution_is_as_pad_takes_it(kind, padding):
    layer = kind(1, 1, 3, padding=padding, padding_mode="circular", dilation=2)
    sides = len(layer.kernel_size)
    x = torch.randn(2, 1, *[6] * sides)
    padded = F.pad(x, internals.padding_of(layer), mode="circular")
    convolve = (F.conv1d, F.conv2d, F.conv3d)[sides - 1]
    torch.testing.assert_close(convolve(padded, layer.weight, layer.bias, dilation=2), layer(x))


@about("torch.utils.checkpoint._checkpoint_without_reentrant_generator")
def test_what_a_checkpoint_goes_through_can_be_replaced():
    runs = []

    def part(x):
        runs.append(1)
        return x.sin()

    x = torch.randn(3, requires_grad=True)
    before = internals.around_checkpoints()
    assert before is not None
    internals.set_around_checkpoints(lambda *_, **__: iter((None,)))
    try:
        out = checkpoint(part, x, use_reentrant=False)
    finally:
        internals.set_around_checkpoints(before)
    out.sum().backward()
    assert len(runs) == 1
    checkpoint(part, x, use_reentrant=False).sum().backward()
    assert len(runs) == 3
