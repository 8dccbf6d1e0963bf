"""The table of names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PrivateName:
    """One row of the table.

    Attributes:
        name: As PyTorch's sources have it.
        use: What the library needs it for.
        wrapped_by: What of this package stands for it.
        since: The oldest release in which it does what the library relies on, as tried.
        inline: Files that read it themselves, in a loop over every node of a graph, say, where
            a function would cost more than what it wraps.
    """

    name: str
    use: str
    wrapped_by: str
    since: str = "2.6"
    inline: tuple[str, ...] = ()


_OPERATORS = (
    PrivateName("torch._ops.OpOverload", "tell an operator's library", "is_custom_operator"),
    PrivateName("torch._ops.OpOverloadPacket", "the same, of all overloads", "is_custom_operator"),
    PrivateName("OpOverloadPacket._qualified_op_name", "the same", "is_custom_operator"),
    PrivateName("Tensor.data.__get__", "see what hides changes in place", "reads_data"),
    PrivateName(
        "torch._C._disabled_torch_function_impl",
        "know parameters and other types that change nothing",
        "handles_operators_itself",
    ),
    PrivateName(
        "torch._C._len_torch_dispatch_stack",
        "see that something else sees the operators",
        "dispatch_modes_in_place",
    ),
    PrivateName("torch.overrides._get_current_function_mode_stack", "the same", "function_modes"),
    PrivateName("torch.utils._device.DeviceContext", "a default device is none", "function_modes"),
    PrivateName(
        "torch._C.DisableTorchFunctionSubclass", "read a subclass's flags", "without_subclasses"
    ),
    PrivateName(
        "torch._C.DisableTorchFunction", "run an operator unseen", "without_function_modes"
    ),
    PrivateName(
        "torch.autograd.forward_ad._set_fwd_grad_enabled",
        "hold constant what is computed under no_grad",
        "forward_mode_enabled",
    ),
    PrivateName(
        "torch._C._set_grad_enabled", "compute tangents without a graph", "record_gradients"
    ),
    PrivateName(
        "torch._C._is_any_autocast_enabled",
        "ask of all devices at once",
        "any_autocast_enabled",
    ),
    PrivateName(
        "torch._C._functorch.is_functorch_wrapped_tensor",
        "know what a layer sees inside torch.func",
        "is_wrapped",
    ),
    PrivateName(
        "functional.multi_head_attention_forward.__globals__",
        "see the operators that it is made of",
        "body_of",
    ),
    PrivateName(
        "torch.ops.aten._softmax_backward_data", "take tangents by its kernel", "softmax_backward"
    ),
    PrivateName("torch.ops.aten._safe_softmax", "leave out what no query sees", "safe_softmax"),
    PrivateName("torch._C._functorch.get_unwrapped", "find its graph", "unwrapped_tensor"),
)

_GRAPH = (
    PrivateName("Tensor._version", "see changes in place", "version"),
    PrivateName("Tensor._is_view", "leave a view's history alone", "is_view"),
    PrivateName("Tensor._base", "take the same view of what stands in its base's place", "base_of"),
    PrivateName("UntypedStorage._cdata", "know memory that is shared", "storage_of"),
    PrivateName(
        "AccumulateGrad.variable",
        "tell a leaf from its alias, and find the leaves of a graph",
        "leaf_of",
        inline=("_isolation/graph_leaves.py",),
    ),
    PrivateName(
        "Variable._execution_engine",
        "know when a backward pass is over",
        "at_the_end_of_backward",
    ),
    PrivateName("Node._input_metadata", "follow samples through a graph", "output_shape"),
    PrivateName("Node._saved_input", "read what a layer was fed, and how, off the graph", "saved"),
    PrivateName("Node._saved_dim", "know which side an operator mixes", "saved_dimensions"),
    PrivateName("Node._saved_dims", "the same", "saved_dimensions"),
    PrivateName("Node._saved_dim0", "the same", "saved_dimensions"),
    PrivateName("Node._saved_dim1", "the same", "saved_dimensions"),
    PrivateName(
        "torch._C._autograd._saved_tensors_hooks_is_enabled",
        "not raise where hooks are barred",
        "saved_tensors_hooks_allowed",
    ),
    PrivateName(
        "torch._C._autograd._top_saved_tensors_default_hooks",
        "leave activation checkpointing and offloading alone",
        "saved_tensors_hooks",
        since="2.8",
    ),
    PrivateName("Tensor._backward_hooks", "see hooks that change a gradient", "gradient_hooks"),
    PrivateName(
        "torch.utils.weak.WeakIdKeyDictionary",
        "remember tensors and not keep them",
        "WeakIdKeyDictionary",
    ),
)

_SAVED = (
    PrivateName(
        "NativeBatchNormBackward0._saved_result1",
        "not compute a batch's statistics twice",
        "batch_norm_statistics",
    ),
    PrivateName("NativeBatchNormBackward0._saved_result2", "the same", "batch_norm_statistics"),
    PrivateName("CudnnBatchNormBackward0._saved_result1", "the same", "batch_norm_statistics"),
    PrivateName("CudnnBatchNormBackward0._saved_result2", "the same", "batch_norm_statistics"),
    PrivateName(
        "NativeLayerNormBackward0._saved_result1", "nor those of rows", "layer_norm_statistics"
    ),
    PrivateName("NativeLayerNormBackward0._saved_result2", "the same", "layer_norm_statistics"),
    PrivateName(
        "NativeGroupNormBackward0._saved_result1", "nor those of groups", "group_norm_statistics"
    ),
    PrivateName("NativeGroupNormBackward0._saved_result2", "the same", "group_norm_statistics"),
    PrivateName("MulBackward0._saved_other", "know the mask of a dropout", "dropout_mask"),
    PrivateName("NativeDropoutBackward0._saved_result1", "the same, on GPUs", "dropout_mask"),
    PrivateName("NativeDropoutBackward0._saved_p", "the same", "attention_weights"),
    PrivateName(
        "SafeSoftmaxBackward0._saved_result", "draw no second dropout of it", "attention_weights"
    ),
    *(
        PrivateName(
            f"ScaledDotProductEfficientAttentionBackward0.{name}",
            "draw the dropout of a fused kernel again",
            "attention_dropout",
        )
        for name in ("_saved_dropout_p", "_saved_philox_seed", "_saved_philox_offset")
    ),
    PrivateName("torch.ops.aten._fill_mem_eff_dropout_mask_", "the same", "attention_dropout"),
    PrivateName(
        "MaxPool2DWithIndicesBackward0._saved_result1", "not look for maxima twice", "pooled_from"
    ),
    PrivateName("MaxPool3DWithIndicesBackward0._saved_result1", "the same", "pooled_from"),
    PrivateName("SiluBackward0._saved_self", "know what was written over", "saved_input"),
)

_COMPILER = (
    PrivateName("torch._dynamo", "not load the compiler to ask it", "compiler_loaded"),
    PrivateName("torch._dynamo.OptimizedModule", "see torch.compile(module)", "uses_compiler"),
    PrivateName("OptimizedModule._orig_mod", "score the module itself", "inside_compiled"),
    PrivateName(
        "torch._dynamo.eval_frame.cached_backends",
        "not follow a pass that may be compiled",
        "anything_compiled",
    ),
    PrivateName("Module._compiled_call_impl", "see Module.compile()", "uses_compiler"),
)

_MODULES = (
    PrivateName(
        "torch.utils.checkpoint._checkpoint_without_reentrant_generator",
        "run no part again after its pass is over",
        "around_checkpoints",
    ),
    PrivateName("Module._parameters", "tell own parameters from inherited ones", "parameter_slots"),
    PrivateName("Module._buffers", "put slots back as they were", "TENSOR_SLOTS"),
    PrivateName("Module._modules", "the same", "SLOTS"),
    PrivateName("Module._non_persistent_buffers_set", "the same", "SLOTS"),
    PrivateName("Module._forward_hooks", "know a layer that is not just itself", "has_hooks"),
    PrivateName("Module._forward_pre_hooks", "the same", "has_hooks"),
    PrivateName("Module._backward_hooks", "and see what changes gradients", "BACKWARD_HOOK_SLOTS"),
    PrivateName("Module._backward_pre_hooks", "the same", "BACKWARD_HOOK_SLOTS"),
    PrivateName(
        "torch.nn.modules.module._global_backward_hooks",
        "the same, of all modules",
        "backward_hooks_of_all_modules",
    ),
    PrivateName(
        "torch.nn.modules.module._global_backward_pre_hooks",
        "the same",
        "backward_hooks_of_all_modules",
    ),
    PrivateName("ScriptModule._c", "put other tensors into TorchScript modules", "set_scripted"),
    PrivateName(
        "torch.nn.utils.parametrize._cache",
        "keep one pass's weights from another",
        "nothing_cached_by_parametrize",
    ),
    PrivateName("Conv._reversed_padding_repeated_twice", "pad as the layer does", "padding_of"),
)

_WRAPPERS = (
    PrivateName("torch.autocast.__enter__", "see autocast inside the model", "entering_autocast"),
    PrivateName("torch.autocast._enabled", "keep it off in scoring passes", "turned_off"),
    PrivateName("torch.utils._pytree.tree_flatten", "find a model's outputs", "tree_flatten"),
    PrivateName(
        "torch.utils._pytree.tree_unflatten", "put one in another's place", "tree_unflatten"
    ),
    PrivateName(
        "DistributedDataParallel._static_graph_delay_allreduce_enqueued",
        "not be what it learns the graph from",
        "learns_static_graph",
    ),
    PrivateName(
        "DistributedDataParallel.will_sync_module_buffers",
        "score from rank 0's buffers, as training will",
        "about_to_broadcast",
    ),
    PrivateName("DistributedDataParallel.buffer_hook", "the same", "about_to_broadcast"),
    PrivateName("DistributedDataParallel._sync_buffers", "the same", "broadcast_buffers"),
    PrivateName(
        "DistributedDataParallel.require_forward_param_sync",
        "not broadcast them a second time",
        "set_to_broadcast",
    ),
    PrivateName(
        "DistributedDataParallel._join_config",
        "not wait for ranks that have no batch left",
        "takes_uneven_inputs",
    ),
)

TABLE = (*_OPERATORS, *_GRAPH, *_SAVED, *_COMPILER, *_MODULES, *_WRAPPERS)
"""Every such name in use."""
