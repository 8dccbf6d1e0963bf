"""What PyTorch does not promise and the library relies on: one test a row of the table."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.graph import get_gradient_edge
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from reweight import _torch_internals as internals

ROOT = Path(internals.__file__).parent
IN_TABLE = {row.name for row in internals.TABLE}


def seen_by(test):
    """The rows whose behaviour a test is about."""
    return getattr(test, "rows", ())


def about(*rows: str):
    assert set(rows) <= IN_TABLE, set(rows) - IN_TABLE

    def mark(test):
        test.rows = rows
        return test

    return mark


# The table ---------------------------------------------------------------------------------------


def test_every_row_has_a_test_and_a_function():
    tests = [value for name, value in globals().items() if name.startswith("test_")]
    assert {row for test in tests for row in seen_by(test)} == IN_TABLE
    assert len(IN_TABLE) == len(internals.TABLE), "a name stands in the table twice"
    for row in internals.TABLE:
        assert inspect.isfunction(getattr(internals, row.wrapped_by))


def test_the_declared_lower_bound_has_every_row():
    pyproject = (ROOT.parent / "pyproject.toml").read_text(encoding="utf-8")
    declared = re.search(r'"torch>=(\d+)\.(\d+)"', pyproject)
    assert declared
    bound = tuple(map(int, declared.groups()))
    assert max(tuple(map(int, row.since.split("."))) for row in internals.TABLE) <= bound


_PRIVATE_PATH = re.compile(r"(\w+\.)*_[a-z]\w*(\.\w+)*")


def private_names(path: Path) -> Iterator[str]:
    """Underscored names of others that a file uses: attributes, imports, names in strings."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
            yield from (p for p in (node.module or "").split(".") if _is_private(p))
            yield from (alias.name for alias in node.names if _is_private(alias.name))
        elif isinstance(node, ast.Constant) and _PRIVATE_PATH.fullmatch(str(node.value)):
            yield next(p for p in node.value.split(".") if _is_private(p))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def own_names() -> set[str]:
    """Underscored names that the library itself defines."""
    found = {"_fields", "_replace"}  # of named tuples, and documented
    for path in ROOT.rglob("*.py"):
        found.add(path.stem if path.stem != "__init__" else path.parent.name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and node.value.id in ("self", "cls")
            ):
                found.add(node.attr)
    return found


# Being rewritten; each goes from this list as it takes its names from the table's functions.
AWAITED = {
    "_derivative/beside_training/follow.py",
    "_derivative/beside_training/foreign.py",
    "_derivative/beside_training/normalization.py",
    "_derivative/beside_training/rerun.py",
    "_derivative/beside_training/saved_tensors.py",
    "_derivative/custom_operators.py",
    "_isolation/attributes.py",
    "_isolation/compiled.py",
    "_isolation/constant_under_no_grad.py",
    "_isolation/objective.py",
    "_isolation/scoring_pass.py",
}


def test_no_other_file_uses_a_private_name_of_pytorch():
    own = own_names() - {name.rpartition(".")[2] for name in IN_TABLE}
    found = {
        str(path.relative_to(ROOT)): names
        for path in ROOT.rglob("*.py")
        if path.name != "_torch_internals.py" and (names := sorted(set(private_names(path)) - own))
    }
    unexpected = {path: names for path, names in found.items() if path not in AWAITED}
    assert not unexpected, "these belong into reweight/_torch_internals.py, with a test"
    assert set(found) == AWAITED, "take the files that are mended from the list"


def test_the_scan_sees_what_it_looks_for(tmp_path):
    path = tmp_path / "code.py"
    path.write_text(
        "import sys\n"
        "from torch._ops import OpOverload\n"
        "from torch.overrides import _get_current_function_mode_stack\n"
        "x._version\n"
        "sys.modules.get('torch._dynamo.eval_frame')\n"
        "getattr(x, '_backward_hooks')\n"
        "x.__dict__, 'a sentence with _underscores'\n",
        encoding="utf-8",
    )
    assert sorted(private_names(path)) == [
        "_backward_hooks",
        "_dynamo",
        "_get_current_function_mode_stack",
        "_ops",
        "_version",
    ]


# Operators and modes -----------------------------------------------------------------------------


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


# The graph ---------------------------------------------------------------------------------------


@about("Tensor._version")
def test_a_change_in_place_counts_in_every_view():
    x = torch.zeros(4)
    view, copy = x[:2], x.clone()
    before = internals.version(x), internals.version(copy)
    view.add_(1)
    assert internals.version(x) == internals.version(view) == before[0] + 1
    assert internals.version(copy) == before[1]
    assert internals.version(x.detach()) == internals.version(x), "an alias shares the count"


@about("Tensor._is_view")
def test_views_are_told_from_what_owns_its_memory():
    x = torch.zeros(4, requires_grad=True)
    assert internals.is_view(x[:2])
    assert internals.is_view(x.view(2, 2))
    assert not internals.is_view(x)
    assert not internals.is_view(x * 2)


@about("AccumulateGrad.variable")
def test_a_leafs_node_names_the_leaf_and_no_other_node_does():
    x = torch.zeros(4, requires_grad=True)
    assert internals.leaf_of(get_gradient_edge(x).node) is x
    assert internals.leaf_of((x * 2).grad_fn) is None
    assert internals.leaf_of(None) is None


@about("NativeBatchNormBackward0._saved_result1", "NativeBatchNormBackward0._saved_result2")
def test_a_batch_norm_keeps_the_mean_and_the_inverse_deviation():
    x = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    out = F.batch_norm(x, None, None, training=True, eps=1e-3)
    found = internals.batch_norm_statistics(out.grad_fn)
    if found is None:  # cuDNN and MIOpen have kernels of their own
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


@about("torch._C._autograd._saved_tensors_hooks_is_enabled")
def test_barred_hooks_are_known_without_raising():
    assert internals.saved_tensors_hooks_allowed()
    with torch.autograd.graph.disable_saved_tensors_hooks("not here"):
        assert not internals.saved_tensors_hooks_allowed()
    assert internals.saved_tensors_hooks_allowed()


@about("torch._C._autograd._top_saved_tensors_default_hooks")
def test_the_innermost_hooks_on_saved_tensors_are_read_and_not_called():
    def pack(x):
        raise AssertionError(f"called with {x}, and only asked for")

    def unpack(x):
        return x

    assert internals.saved_tensors_hooks() is None
    with torch.autograd.graph.saved_tensors_hooks(lambda x: x, unpack):
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            found = internals.saved_tensors_hooks()
            assert found is not None
            assert found[0] is pack
            assert found[1] is unpack
        assert internals.saved_tensors_hooks()[0] is not pack
    assert internals.saved_tensors_hooks() is None


@about("torch._C._autograd._top_saved_tensors_default_hooks")
def test_activation_checkpointing_is_seen_by_its_hooks():
    seen = []

    def body(x):
        seen.append(internals.saved_tensors_hooks())
        return x.sin()

    checkpoint(body, torch.ones(2, requires_grad=True), use_reentrant=False)
    assert seen[0] is not None


@about("torch.autograd.forward_ad._set_fwd_grad_enabled")
def test_tangents_stop_where_forward_mode_is_disabled():
    with forward_ad.dual_level():
        x = forward_ad.make_dual(torch.ones(2), torch.ones(2))
        with internals.forward_mode_enabled(False):
            constant = x * 3
        followed = x * 3
        assert forward_ad.unpack_dual(constant).tangent is None
        assert forward_ad.unpack_dual(followed).tangent.tolist() == [3, 3]


# The compiler ------------------------------------------------------------------------------------


@about("torch._dynamo")
def test_importing_the_library_does_not_load_the_compiler():
    code = "import sys, reweight; sys.exit('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, check=False)
    assert done.returncode == 0


@about(
    "torch._dynamo",
    "torch._dynamo.OptimizedModule",
    "OptimizedModule._orig_mod",
    "torch._dynamo.eval_frame.cached_backends",
    "Module._compiled_call_impl",
)
def test_compiled_modules_are_known_and_so_is_that_something_was_compiled():
    plain = nn.Linear(2, 2)
    wrapped = torch.compile(nn.Linear(2, 2), backend="eager")
    in_place = nn.Linear(2, 2)
    in_place.compile(backend="eager")
    assert internals.compiler_loaded()
    assert not internals.is_compiled(plain)
    assert internals.is_compiled(wrapped)
    assert internals.is_compiled(in_place)
    assert isinstance(internals.inside_compiled(wrapped), nn.Linear)
    assert internals.inside_compiled(wrapped).weight is wrapped.weight
    assert internals.inside_compiled(plain) is None
    assert internals.inside_compiled(in_place) is None
    try:
        wrapped(torch.ones(1, 2))
        assert internals.anything_compiled()
    finally:
        torch.compiler.reset()
    assert not internals.anything_compiled()


# Modules -----------------------------------------------------------------------------------------


@about("Module._parameters", "Module._buffers")
def test_slots_hold_a_modules_own_parameters_and_buffers_and_empty_ones():
    norm = nn.BatchNorm1d(3, affine=False)
    outer = nn.Sequential(nn.Linear(3, 3, bias=False), norm)
    assert not internals.parameter_slots(outer)
    slots = internals.parameter_slots(outer[0])
    assert slots["weight"] is outer[0].weight
    assert slots["bias"] is None
    assert internals.parameter_slots(norm) == {"weight": None, "bias": None}
    buffers = internals.buffer_slots(norm)
    assert set(buffers) == {"running_mean", "running_var", "num_batches_tracked"}
    buffers["running_mean"] = other = torch.ones(3)
    assert norm.running_mean is other


@about("Module._forward_hooks", "Module._forward_pre_hooks")
@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_forward_hooks_of_a_module_are_known(register):
    module = nn.Linear(2, 2)
    assert not internals.forward_hooks(module)
    handle = getattr(module, register)(lambda *_: None)
    assert internals.forward_hooks(module)
    assert not internals.backward_hooks(module)
    handle.remove()
    assert not internals.forward_hooks(module)


@about("Module._backward_hooks", "Module._backward_pre_hooks")
@pytest.mark.parametrize(
    "register", ["register_full_backward_hook", "register_full_backward_pre_hook"]
)
def test_backward_hooks_of_a_module_are_known(register):
    module = nn.Linear(2, 2)
    assert not internals.backward_hooks(module)
    handle = getattr(module, register)(lambda *_: None)
    assert internals.backward_hooks(module)
    handle.remove()
    assert not internals.backward_hooks(module)


@about("Tensor._backward_hooks")
def test_hooks_on_a_tensors_gradient_are_known_and_can_be_called():
    x = torch.ones(2, requires_grad=True)
    assert not internals.gradient_hooks(x)
    handle = x.register_hook(lambda gradient: 2 * gradient)
    (hook,) = internals.gradient_hooks(x).values()
    assert hook(torch.ones(1)).item() == 2
    handle.remove()
    assert not internals.gradient_hooks(x)
