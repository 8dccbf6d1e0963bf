"""Every model, in the precisions that can be asked for."""

from __future__ import annotations

import shutil

import pytest
import torch

from benchmarks.gpu.cells import SMALLEST
from benchmarks.meta_step.methods import METHODS
from benchmarks.meta_step.models import MODELS, Setup, build_problem, describe


@pytest.mark.parametrize("model", MODELS)
def test_a_model_trains_at_its_smallest_size(model):
    assert MODELS[model].wants(SMALLEST[model]) is None
    assert MODELS[model].wants(MODELS[model].size) is None
    problem = build_problem(Setup(model, SMALLEST[model], batch=2, trusted_batch=1))
    losses = problem.losses(problem.model, problem.noisy)
    assert losses.shape == (2,)
    METHODS["plain"](problem)()


def test_the_same_setup_is_the_same_problem():
    setup = Setup("transformer", 5, batch=3, trusted_batch=2)
    first, second = build_problem(setup), build_problem(setup)
    torch.testing.assert_close(first.module.state_dict(), second.module.state_dict())
    assert torch.equal(first.noisy[0], second.noisy[0])
    assert not torch.equal(first.noisy[0][:2], first.trusted[0])


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # vmap, fused attention
@pytest.mark.parametrize("name", ["floor", "default", "l2r", "torchopt-metasgd", "vmap"])
@pytest.mark.parametrize(
    "precision",
    [{"dtype": "float64"}, {"dtype": "bfloat16"}, {"amp": "bfloat16"}, {"amp": "float16"}],
    ids=str,
)
def test_methods_run_in_every_precision(name, precision):
    problem = build_problem(Setup("transformer", 4, batch=3, trusted_batch=2, **precision))
    dtype = getattr(torch, precision.get("dtype", "float32"))
    step = METHODS[name](problem)
    step()
    step()
    assert {parameter.dtype for parameter in problem.module.parameters()} == {dtype}
    assert all(parameter.isfinite().all() for parameter in problem.module.parameters())


def test_autocast_reaches_the_forward_pass_and_float16_is_scaled():
    problem = build_problem(Setup("mlp", 4, batch=3, trusted_batch=2, amp="float16"))
    with problem.autocast():
        assert problem.model(problem.noisy[0]).dtype is torch.float16
    before = [p.clone() for p in problem.module.parameters()]
    METHODS["plain"](problem)()
    plain = build_problem(Setup("mlp", 4, batch=3, trusted_batch=2))
    METHODS["plain"](plain)()
    for own, start, other in zip(
        problem.module.parameters(), before, plain.module.parameters(), strict=True
    ):
        torch.testing.assert_close(own - start, other - start, rtol=0.05, atol=1e-5)


def test_a_compiled_model_is_trained_and_its_bare_module_scored(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda module: compiled.append(module) or module.forward)
    problem = build_problem(Setup("mlp", 4, batch=3, trusted_batch=2, compile=True))
    assert compiled == [problem.module]
    assert problem.model == problem.module.forward
    METHODS["l2r"](problem)()


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_methods_do_not_run_each_others_code():
    setup = Setup("mlp", 4, batch=3, trusted_batch=2, compile=True)
    METHODS["plain"](build_problem(setup))()
    METHODS["last-layer"](build_problem(setup))()  # finds its layer by a hook


def test_a_setup_in_words():
    setup = Setup("unet", 48, 4, 2, amp="float16", compile=True, seed=3)
    assert describe(setup, 4806481) == (
        "3D U-Net of the paper's Table 1, 4 noisy + 2 trusted volumes of 1 × 48³, "
        "4,806,481 parameters, float32, autocast to float16, compiled, seed 3"
    )
