"""What the library relies on about tensors and graphs."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from reweight import _torch_internals as internals
from reweight._isolation.graph_leaves import leaves_of
from tests.torch_internals.about import about


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


@about("Tensor._base")
def test_a_view_knows_its_base():
    x = torch.zeros(4, 2, requires_grad=True)
    assert internals.base_of(x.t()) is x
    assert internals.base_of(x[1:].t()) is x
    assert internals.base_of(x) is None
    assert internals.base_of(x * 2) is None


@about("AccumulateGrad.variable")
def test_a_leafs_node_names_the_leaf_and_no_other_node_does():
    x = torch.zeros(4, requires_grad=True)
    assert internals.leaf_of(get_gradient_edge(x).node) is x
    assert internals.leaf_of((x * 2).grad_fn) is None
    assert internals.leaf_of(None) is None


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


@about("UntypedStorage._cdata")
def test_memory_that_is_shared_is_known_through_views_aliases_and_layouts():
    x = torch.zeros(4, 3)
    for view in (x[1:], x.T, x.detach(), x.view(-1)[5:]):
        assert internals.storage_of(view) == internals.storage_of(x)
    assert internals.storage_of(x.clone()) != internals.storage_of(x)
    assert internals.storage_of(torch.eye(2).to_sparse()) is None
    assert internals.storage_of("no tensor") is None


@about("AccumulateGrad.variable")
def test_every_leaf_of_a_graph_is_named_once_by_a_node():
    first, second = (torch.ones(2, requires_grad=True) for _ in range(2))
    found = list(leaves_of((first * second + first[:1]).sum()))
    assert len(found) == 2
    assert {id(x) for x in found} == {id(first), id(second)}


@about("Node._input_metadata")
def test_nodes_tell_the_shapes_that_they_computed():
    x = torch.randn(4, 3, requires_grad=True)
    assert internals.output_shape((x * 2).grad_fn) == (4, 3)
    assert internals.output_shape(x.sum().grad_fn) == ()
    assert internals.output_shape(x.unbind()[0].grad_fn) is None


@about("Node._saved_dim", "Node._saved_dims", "Node._saved_dim0", "Node._saved_dim1")
@pytest.mark.parametrize(
    ("operator", "dimensions"),
    [
        (lambda x: x.log_softmax(-1), [-1]),
        (lambda x: x.softmax(1), [1]),
        (lambda x: x.sum((0, 2)), [0, 2]),
        (lambda x: x.mean(-2), [-2]),
        (lambda x: x.transpose(1, 2), [1, 2]),
        (lambda x: x.permute(0, 2, 1), [0, 2, 1]),
        (lambda x: x.select(2, 0), [2]),
        (lambda x: x[:, 1:], [1]),
        (lambda x: x.gather(1, torch.zeros(2, 1, 4, dtype=torch.long)), [1]),
        (lambda x: x.logsumexp(2), [2]),
        (lambda x: x * 2, None),
    ],
)
def test_nodes_tell_the_dimensions_that_they_worked_along(operator, dimensions):
    node = operator(torch.randn(2, 3, 4, requires_grad=True)).grad_fn
    found = internals.saved_dimensions(node)
    assert (found and [d % 3 for d in found]) == (dimensions and [d % 3 for d in dimensions])


@about("Tensor._backward_hooks")
def test_hooks_put_back_into_what_held_them_run_again():
    x = torch.ones(2, requires_grad=True)
    x.register_hook(lambda gradient: 2 * gradient)
    kept = dict(internals.gradient_hooks(x))
    internals.gradient_hooks(x).clear()
    assert torch.autograd.grad(x.sum(), x)[0].tolist() == [1, 1]
    internals.gradient_hooks(x).update(kept)
    assert torch.autograd.grad(x.sum(), x)[0].tolist() == [2, 2]


@about("torch.utils.weak.WeakIdKeyDictionary")
def test_tensors_are_remembered_by_identity_and_not_kept():
    known = internals.WeakIdKeyDictionary()
    x, same = torch.ones(2), torch.ones(2)
    known[x] = "x"
    assert known.get(x) == "x"
    assert known.get(same) is None
    gone = weakref.ref(x)
    del x
    gc.collect()
    assert gone() is None
    assert len(known) == 0


@about("Tensor._backward_hooks")
def test_hooks_on_a_tensors_gradient_are_known_and_can_be_called():
    x = torch.ones(2, requires_grad=True)
    assert not internals.gradient_hooks(x)
    handle = x.register_hook(lambda gradient: 2 * gradient)
    (hook,) = internals.gradient_hooks(x).values()
    assert hook(torch.ones(1)).item() == 2
    handle.remove()
    assert not internals.gradient_hooks(x)


@about("Node._saved_input")
def test_a_node_keeps_what_its_operator_was_given():
    x = torch.randn(2, 3, 5, requires_grad=True)
    weight = torch.randn(4, 3, 2, requires_grad=True)
    node = F.conv1d(x, weight, stride=2).grad_fn
    assert torch.equal(internals.saved(node, "input"), x)
    assert list(internals.saved(node, "stride")) == [2]
    assert internals.saved(node, "groups") == 1
    assert internals.saved(node, "transposed") is False
    assert internals.saved(node, "nothing_of_that_name") is None


def test_a_node_knows_the_shape_of_each_of_its_results():
    x = torch.randn(4, 6, requires_grad=True)
    first, _ = x.split(3, dim=1)
    assert internals.output_shapes(first.grad_fn) == [(4, 3), (4, 3)]


@about("Variable._execution_engine")
def test_a_callback_is_called_once_at_the_end_of_the_backward_pass_that_it_is_queued_in():
    x = torch.ones(3, requires_grad=True)
    seen = []
    loss = (x * 2).sum()
    loss.register_hook(
        lambda _: internals.at_the_end_of_backward(lambda: seen.append(x.grad.clone()))
    )
    loss.backward()
    assert [gradient.tolist() for gradient in seen] == [[2.0, 2.0, 2.0]]
    (x * 3).sum().backward()
    assert len(seen) == 1
