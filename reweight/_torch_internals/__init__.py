"""Everything of PyTorch's that the library uses and PyTorch does not promise to keep.

What is underscored in PyTorch, or only known from its sources, is named here and nowhere else:
``TABLE`` says what for, the functions wrap it, and ``tests/torch_internals`` holds the behaviour
relied on, a test for each row. Where a PyTorch release moves one, this package is what to mend.
"""

from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.weak import WeakIdKeyDictionary

from reweight._torch_internals.compiler import (
    anything_compiled,
    compiler_loaded,
    inside_compiled,
    uses_compiler,
)
from reweight._torch_internals.graph import (
    SavedTensorsHooks,
    at_the_end_of_backward,
    base_of,
    batch_norm_statistics,
    by_own_batch_norm,
    gradient_hooks,
    is_view,
    leaf_of,
    output_shape,
    saved_dimensions,
    saved_tensors_hooks,
    saved_tensors_hooks_allowed,
    storage_of,
    version,
)
from reweight._torch_internals.modules import (
    BACKWARD_HOOK_SLOTS,
    HOOK_SLOTS,
    SLOTS,
    TENSOR_SLOTS,
    backward_hooks_of_all_modules,
    has_hooks,
    hooks_of,
    nothing_cached_by_parametrize,
    padding_of,
    parameter_slots,
    set_scripted,
)
from reweight._torch_internals.operators import (
    dispatch_modes_in_place,
    forward_mode_enabled,
    function_modes,
    handles_operators_itself,
    is_custom_operator,
    is_wrapped,
    reads_data,
    unwrapped_tensor,
    without_function_modes,
    without_subclasses,
)
from reweight._torch_internals.table import TABLE, PrivateName
from reweight._torch_internals.wrappers import (
    about_to_broadcast,
    broadcast_buffers,
    enables_autocast,
    entering_autocast,
    learns_static_graph,
    set_to_broadcast,
    takes_uneven_inputs,
    turned_off,
)

__all__ = [
    "BACKWARD_HOOK_SLOTS",
    "HOOK_SLOTS",
    "SLOTS",
    "TABLE",
    "TENSOR_SLOTS",
    "PrivateName",
    "SavedTensorsHooks",
    "WeakIdKeyDictionary",
    "about_to_broadcast",
    "anything_compiled",
    "at_the_end_of_backward",
    "backward_hooks_of_all_modules",
    "base_of",
    "batch_norm_statistics",
    "broadcast_buffers",
    "by_own_batch_norm",
    "compiler_loaded",
    "dispatch_modes_in_place",
    "enables_autocast",
    "entering_autocast",
    "forward_mode_enabled",
    "function_modes",
    "gradient_hooks",
    "handles_operators_itself",
    "has_hooks",
    "hooks_of",
    "inside_compiled",
    "is_custom_operator",
    "is_view",
    "is_wrapped",
    "leaf_of",
    "learns_static_graph",
    "nothing_cached_by_parametrize",
    "output_shape",
    "padding_of",
    "parameter_slots",
    "reads_data",
    "saved_dimensions",
    "saved_tensors_hooks",
    "saved_tensors_hooks_allowed",
    "set_scripted",
    "set_to_broadcast",
    "storage_of",
    "takes_uneven_inputs",
    "tree_flatten",
    "tree_unflatten",
    "turned_off",
    "unwrapped_tensor",
    "uses_compiler",
    "version",
    "without_function_modes",
    "without_subclasses",
]
