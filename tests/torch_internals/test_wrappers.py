"""What the library relies on about autocast and DDP."""

from __future__ import annotations

import threading

import pytest
import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from reweight import _torch_internals as internals
from tests.torch_internals.about import about

DTYPES = {True: torch.bfloat16, False: torch.float32}


def product() -> Tensor:
    """On the CPU, as the autocast of these tests is."""
    return torch.ones(2, 2, device="cpu") @ torch.ones(2, 2, device="cpu")


def dtype_within(context: torch.autocast) -> torch.dtype:
    with context:
        return product().dtype


@about("torch.autocast.__enter__")
def test_every_way_into_autocast_leads_through_the_one_put_there():
    entered = []

    def way(original, context):
        entered.append(context)
        return original(context)

    @torch.autocast("cpu", dtype=torch.bfloat16)
    def decorated():
        return product()

    with internals.entering_autocast(way):
        assert dtype_within(torch.autocast("cpu", dtype=torch.bfloat16)) is torch.bfloat16
        assert dtype_within(torch.amp.autocast_mode.autocast("cpu", enabled=False)) is torch.float32
        assert decorated().dtype is torch.bfloat16
        thread = threading.Thread(target=decorated)
        thread.start()
        thread.join()
    assert [context._enabled for context in entered] == [True, False, True]
    assert decorated().dtype is torch.bfloat16
    assert len(entered) == 3, "not outside the body, nor in another thread"


@about("torch.autocast._enabled")
@pytest.mark.parametrize("enabled", [True, False])
def test_an_autocast_is_known_to_be_on_and_can_be_turned_off(enabled):
    context = torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled)
    assert internals.enables_autocast(context) == enabled
    with internals.turned_off(context):
        assert not internals.enables_autocast(context)
        assert dtype_within(context) is torch.float32
    assert internals.enables_autocast(context) == enabled
    assert dtype_within(context) is DTYPES[enabled]


@about("torch.utils._pytree.tree_flatten", "torch.utils._pytree.tree_unflatten")
def test_the_leaves_of_what_a_model_returns_are_found_and_put_back():
    output = {"logits": torch.ones(2), "more": [torch.zeros(1), (None, 3)]}
    leaves, structure = internals.tree_flatten(output)
    assert leaves[0] is output["logits"]
    assert leaves[1] is output["more"][0]
    assert leaves[2:] == [None, 3]
    leaves[0] = other = torch.full((2,), 7.0)
    rebuilt = internals.tree_unflatten(leaves, structure)
    assert rebuilt["logits"] is other
    assert rebuilt["more"][1] == (None, 3)


@pytest.fixture
def one_rank(tmp_path):
    if not torch.distributed.is_available():
        pytest.skip("torch.distributed is not in this build")
    store = f"file://{tmp_path / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@about("DistributedDataParallel._static_graph_delay_allreduce_enqueued")
@pytest.mark.usefixtures("one_rank")
def test_only_the_first_backward_pass_learns_the_static_graph():
    assert not internals.learns_static_graph(DistributedDataParallel(nn.Linear(2, 2)))
    model = DistributedDataParallel(nn.Linear(2, 2), static_graph=True)
    for learns in (True, False, False):
        assert internals.learns_static_graph(model) == learns
        model(torch.ones(1, 2)).sum().backward()


class Counts(DistributedDataParallel):
    """Counts how often its own forward pass broadcasts the buffers."""

    broadcasts = 0

    def _sync_buffers(self) -> None:
        type(self).broadcasts += 1
        super()._sync_buffers()


@about(
    "DistributedDataParallel.will_sync_module_buffers",
    "DistributedDataParallel.buffer_hook",
    "DistributedDataParallel._sync_buffers",
    "DistributedDataParallel.require_forward_param_sync",
)
@pytest.mark.usefixtures("one_rank")
def test_buffers_are_broadcast_when_it_is_said_and_not_when_it_is_told_not_to(monkeypatch):
    monkeypatch.setattr(Counts, "broadcasts", 0)
    assert not internals.about_to_broadcast(DistributedDataParallel(nn.Linear(2, 2)))
    model = Counts(nn.BatchNorm1d(2))
    x = torch.randn(3, 2)
    assert internals.about_to_broadcast(model)
    model(x)
    assert Counts.broadcasts == 1
    internals.broadcast_buffers(model)
    assert Counts.broadcasts == 2
    internals.set_to_broadcast(model, due=False)
    assert not internals.about_to_broadcast(model)
    model(x)
    assert Counts.broadcasts == 2
    assert internals.about_to_broadcast(model), "the pass after it does so again"
    with model.no_sync():
        model(x)
        assert not internals.about_to_broadcast(model)


@about("DistributedDataParallel.buffer_hook")
@pytest.mark.usefixtures("one_rank")
def test_a_hook_of_the_users_takes_the_buffers_over():
    model = DistributedDataParallel(nn.BatchNorm1d(2))
    model._register_buffer_comm_hook(None, lambda *_: None)
    assert not internals.about_to_broadcast(model)


@about("DistributedDataParallel._join_config")
@pytest.mark.usefixtures("one_rank")
def test_inputs_that_may_run_out_are_known_of():
    model = DistributedDataParallel(nn.Linear(2, 2))
    assert not internals.takes_uneven_inputs(model)
    with model.join():
        assert internals.takes_uneven_inputs(model)
