"""A run on several ranks beside the same run of one process on the joint batches."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from reweight import (
    GradientSimilarity,
    GroupWeights,
    LastLayerGradient,
    MetaReweighter,
    Rectify,
    SampleWeights,
    TopK,
    WeightingContext,
)
from reweight.lookahead import SGD
from tests.comparing import assert_same
from tests.distributed import problems as p

IDS, GROUPS = 14, 3
IGNORED = nn.CrossEntropyLoss(reduction="none").ignore_index


def by_what_is_seen(context: WeightingContext) -> Tensor:
    """Asks for all that a context knows."""
    assert context.logits is not None
    assert context.margins is not None
    assert context.labels is not None
    own = context.logits.gather(1, context.labels[:, None])[:, 0]
    return torch.sigmoid(context.score + 0.1 * context.margins) + own.softmax(0)


Options = Callable[[torch.optim.Optimizer], dict[str, Any]]

# A weighting that is new is tried by a line here: from the optimiser to the reweighter's options.
BUILDERS: dict[str, Options] = {
    "similarity": lambda _: {"scorer": GradientSimilarity()},
    "default": lambda _: {},
    "last_layer": lambda _: {"scorer": LastLayerGradient()},
    "rectify": lambda _: {"selector": Rectify()},
    "top_k": lambda _: {"scorer": GradientSimilarity(), "selector": TopK(0.5)},
    "none_left": lambda _: {"selector": Rectify(0.9)},
    "none_left_uniform": lambda _: {"selector": Rectify(0.9), "on_empty": "uniform"},
    "function": lambda _: {"scorer": GradientSimilarity(), "weighting": by_what_is_seen},
    "sample": lambda _: {"scorer": GradientSimilarity(), "weighting": SampleWeights(IDS)},
    "group": lambda _: {"scorer": GradientSimilarity(), "weighting": GroupWeights(GROUPS)},
    "sum": lambda _: {
        "weighting": SampleWeights(IDS, rate=0.3) + GroupWeights(GROUPS),
        "selector": TopK(0.7),
    },
    "double_backward": lambda _: {"scorer": GradientSimilarity("double_backward")},
    "per_sample": lambda _: {"scorer": GradientSimilarity("per_sample")},
    "finite_difference": lambda _: {"scorer": GradientSimilarity("finite_difference")},
    "unrolled": lambda _: {"scorer": GradientSimilarity("unrolled", inner_steps=2)},
    "subset": lambda _: {"scorer": GradientSimilarity(parameters="b.*") + LastLayerGradient()},
    "two": lambda _: {
        "scorer": GradientSimilarity(parameters="a.*") + GradientSimilarity(parameters="b.*")
    },
    "renewed": lambda _: {"scorer": GradientSimilarity(renew_every=3, averaging=0.5)},
    "look_ahead": lambda optimizer: {"scorer": GradientSimilarity(lookahead=optimizer)},
    "look_ahead_sgd": lambda _: {"scorer": GradientSimilarity(lookahead=SGD(lr=0.2))},
}
# Tables are float32, and so are differences.
TOLERANCE = {"sample": 1e-6, "group": 1e-6, "sum": 1e-6, "finite_difference": 1e-5}

# A look before a step knows less than the step: what it is to learn, or keep. (And what a model's
# outputs are: a look by forward mode does not.)
NOT_LOOKED_AT = {"sample", "group", "sum", "renewed", "function"}


@dataclass
class Scene:
    """What is trained, and on what."""

    model: Callable[..., nn.Module] = p.Plain
    ddp: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    beta: float = 0.0
    steps: int = 4
    accumulate: int = 1
    sizes: tuple[tuple[int, int], ...] = ((6, 3), (4, 5), (1, 2))
    shape: tuple[int, ...] = ()
    ignored: bool = False
    heads: tuple[tuple[int, int], ...] | None = None
    autocast: bool = False
    loss: Any = p.LOSS


Part = dict[str, Any]


def part_of(scene: Scene, rank: int, step: int) -> tuple[Part, Part]:
    """One rank's noisy and trusted batch; of other sizes on each, the last step's shorter."""
    random = torch.Generator().manual_seed(1000 * step + rank)
    found = []
    for which in range(2):
        count = scene.sizes[rank][which]
        if which == 0 and step == scene.steps - 1:
            count = max(1, count // 2)
        x = torch.randn(count, *scene.shape, p.SIDE, generator=random, dtype=torch.float64)
        y = torch.randint(0, p.CLASSES, (count, *scene.shape), generator=random)
        if scene.ignored:
            y[torch.rand(y.shape, generator=random) < 0.3] = IGNORED
            if rank == (1 + step) % 2 and step < 3:
                y[:] = IGNORED if which == step % 2 or step == 2 else y
        # Ids come on both ranks in one step, and twice on one.
        ids = torch.randint(0, IDS, (count,), generator=random)
        if which == 0 and step == 0:
            ids[0] = 5
        groups = torch.randint(0, GROUPS, (count,), generator=random)
        head = None if scene.heads is None else scene.heads[rank][which]
        found.append({"x": x, "y": y, "ids": ids, "groups": groups, "head": head})
    return found[0], found[1]


class ByHeads:
    """The losses of a list of parts, each through a head of its own."""

    def __call__(self, model: nn.Module, batch: list[Any]) -> Tensor:
        return torch.cat([p.LOSS(model(x, head), y) for x, y, head in batch])


def given(scene: Scene, parts: list[Part]) -> Any:
    """The batch that a reweighter is called with."""
    if scene.heads is not None:
        return [(part["x"], part["y"], part["head"]) for part in parts]
    return torch.cat([part["x"] for part in parts]), torch.cat([part["y"] for part in parts])


def rows(parts: list[Part]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in ("ids", "groups")}


class Run:
    """One training: on this rank, or, with `every`, of one process on the joint batches."""

    def __init__(self, scene: Scene, builder: str, bare: nn.Module, *, every: bool) -> None:
        self.scene, self.bare, self.every = scene, bare, every
        self.model = bare if every else DistributedDataParallel(bare, **scene.ddp)
        self.optimizer = torch.optim.SGD(bare.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        what = {"loss": scene.loss} if scene.heads is None else {"forward": ByHeads()}
        options = BUILDERS[builder](self.optimizer) | scene.options
        self.weigh = MetaReweighter(
            self.model,
            **what,
            trusted_coefficient=scene.beta,
            sync="local" if every else options.pop("sync", "global"),
            **{name: value for name, value in options.items() if name != "sync"},
        )

    def call(self, step: int, *, score: bool = False) -> Any:
        """Score, or make, a step."""
        ranks = range(dist.get_world_size()) if self.every else [dist.get_rank()]
        parts = [part_of(self.scene, rank, step) for rank in ranks]
        noisy, trusted = ([each[which] for each in parts] for which in range(2))
        call = self.weigh.score if score else self.weigh
        batches = given(self.scene, noisy), given(self.scene, trusted)
        with (
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.scene.autocast),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # that the one process is alone
            return call(*batches, **rows(noisy))

    def gradients(self) -> list[Tensor | None]:
        return [q.grad for q in self.bare.parameters()]


def share(step: int, values: Tensor, scene: Scene) -> Tensor:
    """This rank's rows of the joint batch's."""
    counts = [len(part_of(scene, rank, step)[0]["y"]) for rank in range(dist.get_world_size())]
    return values.split(counts)[dist.get_rank()]


def compare(builder: str, scene: Scene, tolerance: float | None = None) -> None:
    """Make the same steps on all ranks and, on each, in one process on the joint batches."""
    tolerance = tolerance or TOLERANCE.get(builder, 1e-9)
    bare = p.made(scene.model)
    here = Run(scene, builder, bare, every=False)
    alone = Run(scene, builder, copy.deepcopy(bare), every=True)
    for step in range(scene.steps):
        here.optimizer.zero_grad()
        alone.optimizer.zero_grad()
        for turn in range(scene.accumulate):
            number = scene.steps * turn + step if turn else step
            looked = None if builder in NOT_LOOKED_AT else here.call(number, score=True)
            last = turn == scene.accumulate - 1
            with contextlib.nullcontext() if last else here.model.no_sync():
                found = here.call(number)
                found.loss.backward()
            expected = alone.call(number)
            expected.loss.backward()
            check_step(found, expected, number, scene, tolerance)
            if looked is not None:
                assert_same(looked.weights, found.weights, 1e-6 if scene.autocast else tolerance)
        check_gradients(here, alone, 3e-2 if scene.autocast else tolerance)
        if found.kept:  # as README has it
            here.optimizer.step()
        if expected.kept:
            alone.optimizer.step()
        check_trained(here, alone, 3e-2 if scene.autocast else tolerance)
        if scene.autocast:
            bare.load_state_dict(alone.bare.state_dict())


def check_step(found: Any, expected: Any, step: int, scene: Scene, tolerance: float) -> None:
    assert found.kept == expected.kept
    assert found.empty == expected.empty
    close = {"rel": tolerance, "abs": 1e-12}
    largest = expected.weights.abs().max().clamp(min=1e-30)
    assert found.effective_sample_size == pytest.approx(expected.effective_sample_size, **close)
    weights = share(step, expected.weights, scene)
    assert_same(found.weights / largest, weights / largest, tolerance * 10)
    for name, scores in expected.scores.items():
        size = scores.abs().max().clamp(min=1e-30)
        assert ((found.scores[name] - share(step, scores, scene)).abs() <= tolerance * size).all()
    loss = found.loss.detach().double().reshape(1)
    dist.all_reduce(loss)
    mean = float(loss) / dist.get_world_size()
    rough = {"rel": 3e-2, "abs": 1e-3} if scene.autocast else close
    assert mean == pytest.approx(float(expected.loss), **rough)
    if expected.trusted_loss is not None:
        assert float(found.trusted_loss) == pytest.approx(float(expected.trusted_loss), **close)


def check_gradients(here: Run, alone: Run, tolerance: float) -> None:
    for mine, other in zip(here.gradients(), alone.gradients(), strict=True):
        assert (mine is None) == (other is None)
    largest = p.gradient_of(alone.bare).abs().max().clamp(min=1e-3)
    difference = p.gradient_of(here.bare) - p.gradient_of(alone.bare)
    assert (difference.abs() <= 10 * tolerance * largest).all(), difference.abs().max() / largest


def check_trained(here: Run, alone: Run, tolerance: float) -> None:
    p.assert_equal_on_ranks(here.bare)
    mine, other = (p.oracle.flat([*run.bare.parameters()]) for run in (here, alone))
    assert_same(mine, other, 10 * tolerance)
    remembered, wanted = (run.weigh.state_dict().get("weighting") for run in (here, alone))
    assert (remembered is None) == (wanted is None)
    for mine, other in zip(tensors(remembered), tensors(wanted), strict=True):
        assert_same(mine, other, 1e-6)
        on_all = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(on_all, mine)
        assert all(torch.equal(each, mine) for each in on_all), "one memory on all ranks"


def tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, dict):
        return [tensor for part in state.values() for tensor in tensors(part)]
    return []
