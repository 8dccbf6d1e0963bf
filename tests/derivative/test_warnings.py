"""Where all is well a step gives no warning, not even those of PyTorch's own insides."""

from __future__ import annotations

import subprocess
import sys

import pytest

STEPS = """
import torch
from torch import nn
from reweight import GradientSimilarity, LastLayerGradient, MetaReweighter

model = nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3))
noisy, trusted = [(torch.randn(4, 5), torch.randint(3, (4,))) for _ in range(2)]
scorer = GradientSimilarity("METHOD") + LastLayerGradient()
weigh = MetaReweighter(model, nn.CrossEntropyLoss(reduction="none"), scorer=scorer)
for _ in range(3):
    weigh(noisy, trusted).loss.backward()
weigh.score(noisy, trusted)
"""


@pytest.mark.parametrize("method", ["auto", "forward", "double_backward", "unrolled"])
def test_steps_run_where_every_warning_is_an_error(method):
    """In a process of its own: PyTorch gives its warnings once, when a part is first used."""
    command = [sys.executable, "-W", "error", "-c", STEPS.replace("METHOD", method)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not found.returncode, found.stderr
    assert not found.stderr
