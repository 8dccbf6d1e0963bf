"""Wrapped models, mixed precision, and how the package loads."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import types
import warnings

import pytest
import torch
import torch.distributed as dist
from torch import nn

from reweight import (
    GradientSimilarity,
    KeepAll,
    LastLayerGradient,
    LossMagnitude,
    MetaReweighter,
    Uniform,
)
from tests.comparing import assert_same
from tests.device import autocast, random_state, set_random_state
from tests.helpers import flat_grad, reweighter
from tests.problems import PROBLEMS

MODELS = ["mlp", "batchnorm_train", "dropout", "frozen", "unet3d", "tied", "inplace_relu_last"]
BOTH = 0.5 * GradientSimilarity() + 0.5 * LastLayerGradient()


@pytest.fixture(scope="module")
def process_group(tmp_path_factory):
    file = tmp_path_factory.mktemp("gloo") / "init"
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def assert_same_steps(wrap, name, *, scorer=BOTH, beta=0.5):
    """Two steps of training give the same numbers with the model wrapped as without."""
    bare, other = PROBLEMS[name](), PROBLEMS[name]()
    options = {"scorer": scorer, "trusted_coefficient": beta}
    wrapped = wrap(other.model)
    weigh = (
        MetaReweighter(wrapped, other.loss, **options)
        if other.loss
        else MetaReweighter(wrapped, forward=other.forward, **options)
    )
    plain = reweighter(bare, **options)
    optimizers = [
        torch.optim.SGD(c.model.parameters(), lr=0.1, momentum=0.9) for c in (bare, other)
    ]
    for _ in range(2):
        state = random_state()
        expected = plain(bare.noisy, bare.trusted)
        after = random_state()
        set_random_state(state)
        step = weigh(other.noisy, other.trusted)
        assert torch.equal(random_state(), after)
        assert step.scores.keys() == expected.scores.keys()
        for key, score in expected.scores.items():
            assert_same(step.scores[key], score, 1e-9)
        assert_same(step.weights, expected.weights, 1e-9)
        expected.loss.backward()
        step.loss.backward()
        assert_same(flat_grad(other), flat_grad(bare), 1e-9)
        for key, buffer in bare.model.named_buffers():
            assert torch.allclose(other.model.get_buffer(key), buffer, rtol=1e-9), key
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("name", MODELS)
def test_distributed_data_parallel(name):
    assert_same_steps(nn.parallel.DistributedDataParallel, name)


@pytest.mark.usefixtures("process_group")
def test_distributed_data_parallel_with_unused_parameters():
    def wrap(model):
        return nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)

    assert_same_steps(wrap, "unused")


@pytest.mark.usefixtures("process_group")
def test_distributed_data_parallel_when_nothing_is_kept():
    """Every process must take part in the backward pass, even with nothing to learn from."""
    case = PROBLEMS["mlp"]()
    model = nn.parallel.DistributedDataParallel(case.model)
    weigh = MetaReweighter(model, case.loss, scorer=lambda context: -context.losses)
    for _ in range(3):
        step = weigh(case.noisy, case.trusted)
        assert step.empty
        step.loss.backward()
    assert not flat_grad(case).any()


@pytest.mark.usefixtures("process_group")
def test_distributed_data_parallel_accumulates_without_syncing():
    case, bare = PROBLEMS["mlp"](), PROBLEMS["mlp"]()
    model = nn.parallel.DistributedDataParallel(case.model)
    weigh = MetaReweighter(model, case.loss, trusted_coefficient=0.5)
    plain = reweighter(bare, trusted_coefficient=0.5)
    with model.no_sync():
        weigh(case.noisy, case.trusted).loss.backward()
    weigh(case.noisy, case.trusted).loss.backward()
    for _ in range(2):
        plain(bare.noisy, bare.trusted).loss.backward()
    assert_same(flat_grad(case), flat_grad(bare), 1e-9)


@pytest.mark.compatibility("wrapper", 'DistributedDataParallel, on_nonfinite="drop"', "refused")
@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("compiled", [False, True])
def test_dropping_samples_under_distributed_data_parallel_is_refused(compiled, record_property):
    # Running one rank's batch twice would leave the others waiting.
    model = nn.parallel.DistributedDataParallel(PROBLEMS["mlp"]().model)
    if compiled:
        model = torch.compile(model, backend="eager")
    with pytest.raises(ValueError, match="data loader") as error:
        MetaReweighter(model, nn.CrossEntropyLoss(reduction="none"), on_nonfinite="drop")
    record_property("reason", str(error.value))


@pytest.mark.compatibility("wrapper", "DataParallel", "exact")
def test_data_parallel():
    assert_same_steps(nn.DataParallel, "batchnorm_train")


class OverTwoDevices(nn.DataParallel):
    """What ``DataParallel`` does on two GPUs, on the CPU: a copy of the model for each half."""

    def __init__(self, module):
        super().__init__(module)
        self.device_ids = [0, 1]

    def forward(self, x):
        return torch.cat([self.copy()(part) for part in x.chunk(2)])

    def copy(self):
        parts = list(self.module.modules())
        copies = {part: part._replicate_for_data_parallel() for part in parts}
        for part, one in copies.items():
            for name, child in part._modules.items():
                setattr(one, name, copies[child])
            for name, parameter in part._parameters.items():
                setattr(one, name, parameter.view_as(parameter))
        return copies[self.module]


@pytest.mark.compatibility("wrapper", "DataParallel over several devices", "exact")
@pytest.mark.parametrize("name", ["mlp", "inplace_relu_last"])
@pytest.mark.parametrize("scorer", [BOTH, LastLayerGradient(), GradientSimilarity()])
def test_data_parallel_over_several_devices(name, scorer):
    assert_same_steps(OverTwoDevices, name, scorer=scorer)


# Other ranks -------------------------------------------------------------------------------------


def deepspeed_engine(model):
    """DeepSpeed is not installed: its engine is known by its class's name."""
    base = type("DeepSpeedEngine", (nn.Module,), {"__module__": "deepspeed.runtime.engine"})
    kind = type("PipelineEngine", (base,), {"__module__": "deepspeed.runtime.pipe.engine"})
    engine = kind()
    engine.module = model
    return engine


def deepspeed_zero(model):
    for number, parameter in enumerate(model.parameters()):
        parameter.ds_id = number
    return model


@pytest.mark.compatibility("wrapper", "DeepSpeed, scores by gradients", "refused")
@pytest.mark.parametrize("shard", [deepspeed_engine, deepspeed_zero])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scorer": GradientSimilarity()},
        {"scorer": LastLayerGradient()},
        {"scorer": Uniform(), "trusted_coefficient": 1.0},
    ],
    ids=["default", "similarity", "last_layer", "trusted_term"],
)
def test_deepspeed_is_refused_where_a_gradient_is_needed(shard, options, record_property):
    case = PROBLEMS["mlp"]()
    with pytest.raises(ValueError, match="DeepSpeed") as error:
        MetaReweighter(shard(case.model), case.loss, **options)
    record_property(
        "reason", re.sub("sharded by .*? cannot", "sharded by … cannot", str(error.value))
    )


@pytest.mark.parametrize("shard", [deepspeed_engine, deepspeed_zero])
def test_deepspeed_trains_by_scorers_without_a_gradient(shard, monkeypatch):
    monkeypatch.setitem(sys.modules, "deepspeed", types.ModuleType("deepspeed"))
    case = PROBLEMS["mlp"]()
    model = shard(case.model)
    if model is not case.model:
        type(model).forward = lambda self, x: self.module(x)
    weigh = MetaReweighter(model, case.loss, scorer=LossMagnitude())
    step = weigh(case.noisy)
    losses = case.sample_losses(case.model, case.noisy)
    assert_same(step.weights, losses / losses.sum(), 1e-9)
    with pytest.raises(ValueError, match="DeepSpeed"):
        weigh.score(case.noisy)
    with pytest.raises(ValueError, match="data loader"):
        MetaReweighter(model, case.loss, scorer=LossMagnitude(), on_nonfinite="drop")


def test_sharding_of_others_is_known_by_its_class_name():
    case = PROBLEMS["mlp"]()
    kind = type("FullyShardedDataParallel", (nn.Sequential,), {"__module__": "fairscale.nn"})
    with pytest.raises(ValueError, match="FSDP1"):
        MetaReweighter(nn.Sequential(kind(case.model)), case.loss)


def test_a_model_sharded_after_the_reweighter_was_built_is_refused_then(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepspeed", types.ModuleType("deepspeed"))
    case = PROBLEMS["mlp"]()
    weigh = [
        MetaReweighter(case.model, case.loss, scorer=scorer)
        for scorer in (None, GradientSimilarity(), LastLayerGradient())
    ]
    deepspeed_zero(case.model)
    for one in weigh:
        with pytest.raises(ValueError, match="DeepSpeed"):
            one(case.noisy, case.trusted)


@pytest.mark.compatibility("wrapper", "DistributedDataParallel, its own mixed_precision", "refused")
@pytest.mark.usefixtures("process_group")
def test_ddps_own_mixed_precision_is_refused(record_property):
    class Mixed(nn.parallel.DistributedDataParallel):
        def __init__(self, module):
            nn.Module.__init__(self)
            self.module, self.mixed_precision = module, object()

    case = PROBLEMS["mlp"]()
    with pytest.raises(ValueError, match="autocast") as error:
        MetaReweighter(Mixed(case.model), case.loss)
    record_property("reason", str(error.value))


@pytest.mark.usefixtures("process_group")
def test_one_rank_alone_is_not_warned_of():
    case = PROBLEMS["mlp"]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reweighter(case)(case.noisy, case.trusted)


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.compatibility("wrapper", "torch.compile(model)", "exact", "scores are taken eagerly")
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", ["mlp", "batchnorm_train", "frozen"])
def test_compiled(name, backend):
    assert_same_steps(lambda model: torch.compile(model, backend=backend), name)


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_with_dropout():
    assert_same_steps(lambda model: torch.compile(model, backend="eager"), "dropout")


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("method", ["double_backward", "finite_difference", "unrolled"])
def test_compiled_with_other_methods(method):
    def wrap(model):
        return torch.compile(model, backend="aot_eager")

    assert_same_steps(wrap, "mlp", scorer=GradientSimilarity(method=method), beta=0.0)


@pytest.mark.compatibility("wrapper", "model.compile()", "exact", "scores are taken eagerly")
@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_in_place():
    def wrap(model):
        model.compile(backend="aot_eager")
        return model

    assert_same_steps(wrap, "mlp")


@pytest.mark.compatibility(
    "wrapper", "torch.compile, a part of the model", "exact", "scores are taken eagerly"
)
@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_submodule():
    def wrap(model):
        model[0] = torch.compile(model[0], backend="aot_eager")
        return model

    assert_same_steps(wrap, "batchnorm_train")


@pytest.mark.compatibility("wrapper", "torch.compile around DistributedDataParallel", "exact")
@pytest.mark.usefixtures("fresh_compiler", "process_group")
def test_compiled_and_distributed():
    def wrap(model):
        return torch.compile(nn.parallel.DistributedDataParallel(model), backend="eager")

    assert_same_steps(wrap, "mlp")


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize(
    "scorer",
    [
        LastLayerGradient("2"),
        GradientSimilarity(parameters="2.*"),
    ],
    ids=["layer", "parameters"],
)
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize(
    "wrap",
    [
        nn.parallel.DistributedDataParallel,
        lambda model: torch.compile(model, backend="eager"),
        lambda model: torch.compile(nn.parallel.DistributedDataParallel(model), backend="eager"),
    ],
    ids=["distributed", "compiled", "both"],
)
def test_names_are_those_of_the_bare_model(wrap, scorer):
    assert_same_steps(wrap, "mlp", scorer=scorer)


@pytest.mark.usefixtures("fresh_compiler", "process_group")
def test_a_scorer_is_shown_the_bare_model():
    case = PROBLEMS["mlp"]()
    seen = []

    def own(context):
        seen.extend([context.model, *context.trusted_gradient()])
        return context.losses

    wrapped = torch.compile(nn.parallel.DistributedDataParallel(case.model), backend="eager")
    MetaReweighter(wrapped, case.loss, scorer=own)(case.noisy, case.trusted)
    assert seen[0] is case.model
    assert set(seen[1:]) == {name for name, _ in case.model.named_parameters()}


# Mixed precision ---------------------------------------------------------------------------------


def single_precision(name):
    case = PROBLEMS[name]()
    case.model.float()
    case.noisy, case.trusted = (
        tuple(t.float() if t.is_floating_point() else t for t in batch)
        for batch in (case.noisy, case.trusted)
    )
    return case


@pytest.mark.compatibility(
    "precision",
    "autocast around the step",
    "exact",
    "scores are taken in full precision, training runs under autocast",
)
@pytest.mark.parametrize("name", ["mlp", "batchnorm_train", "unet3d"])
def test_autocast_does_not_change_the_scores(name):
    case = single_precision(name)
    weigh = reweighter(case, scorer=BOTH, selector=KeepAll())
    expected = weigh.score(case.noisy, case.trusted)
    with autocast():
        assert case.model(case.noisy[0]).dtype == torch.bfloat16
        case = single_precision(name)
        weigh = reweighter(case, scorer=BOTH, selector=KeepAll())
        step = weigh(case.noisy, case.trusted)
    for key, score in expected.scores.items():
        assert_same(step.scores[key], score, 1e-6)
    assert_same(step.weights, expected.weights, 1e-6)
    step.loss.backward()
    assert bool(torch.isfinite(flat_grad(case)).all())


def test_training_itself_runs_under_autocast():
    case = single_precision("mlp")
    seen = []
    case.model.register_forward_hook(lambda _module, _args, output: seen.append(output.dtype))
    with autocast():
        step = reweighter(case)(case.noisy, case.trusted)
    assert torch.bfloat16 in seen
    assert step.weights.dtype == step.losses.dtype == torch.float32


@pytest.mark.compatibility("precision", "A scaled loss (GradScaler)", "exact")
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_the_loss_scale_does_not_change_the_scores(beta):
    scaled, plain = single_precision("mlp"), single_precision("mlp")
    weigh = [reweighter(c, trusted_coefficient=beta) for c in (scaled, plain)]
    for _ in range(3):
        one, two = (w(c.noisy, c.trusted) for w, c in zip(weigh, (scaled, plain), strict=True))
        for key, score in one.scores.items():
            assert torch.equal(score, two.scores[key])
        (one.loss * 2.0**16).backward()
        two.loss.backward()
        assert_same(flat_grad(scaled) / 2.0**16, flat_grad(plain), 1e-6)


# Loading -----------------------------------------------------------------------------------------


def python(code):
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return result.stdout.strip()


def test_import_adds_little_to_torch():
    code = (
        "import time, torch; start = time.process_time(); import reweight; "
        "print(time.process_time() - start)"
    )
    assert statistics.median(float(python(code)) for _ in range(3)) <= 0.3


def test_import_loads_no_extra():
    code = (
        "import sys, torch; before = set(sys.modules); import reweight; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    loaded = set(python(code).split())
    assert "reweight" in loaded
    extras = {"monai", "nibabel", "matplotlib", "scipy", "pandas", "tqdm", "hypothesis", "examples"}
    assert not loaded & extras


@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_model_that_was_trained_before():
    """Its code has been compiled without hooks, and is run without them from then on."""
    case = PROBLEMS["mlp"]()
    compiled = torch.compile(case.model, backend="eager")
    case.sample_losses(compiled, case.noisy).mean().backward()
    expected = MetaReweighter(case.model, case.loss).score(case.noisy, case.trusted)
    step = MetaReweighter(compiled, case.loss)(case.noisy, case.trusted)
    for name, scores in expected.scores.items():
        assert_same(step.scores[name], scores, 1e-9)
