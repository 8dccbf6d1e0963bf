"""What the library relies on about the compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from reweight import _torch_internals as internals
from tests.torch_internals.about import about

ROOT = Path(internals.__file__).parent.parent.parent


@about("torch._dynamo")
def test_importing_the_library_does_not_load_the_compiler():
    code = "import sys, reweight; sys.exit('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
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
    assert not internals.uses_compiler(plain)
    assert internals.uses_compiler(wrapped)
    assert internals.uses_compiler(in_place)
    assert internals.uses_compiler(nn.Sequential(plain, in_place)), "a part of it"
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
