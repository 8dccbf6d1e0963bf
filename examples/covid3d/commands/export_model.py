"""Command ``export-model``: a row's networks as one file that PyTorch alone loads."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from examples.covid3d.commands.finished_run import context_of
from examples.covid3d.commands.predict import find_weights
from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import problem
from examples.covid3d.scans.store import THRESHOLD
from examples.covid3d.train.inference import load_network
from support.replacing import replacing

METADATA = "metadata.json"
_SUFFIX = ".pt2"
_TOLERANCE = 1e-4
_NORMALISING = {
    "ct": "(clip(HU, low, high) - low) / (high - low), with `window` = [low, high]",
    "window": "(clip(value, low, high) - low) / (high - low), with `window` = [low, high]",
    "zscore": "(value - mean) / standard deviation, over all voxels of the scan",
}
USAGE = f"""import json, torch
extra = {{"{METADATA}": ""}}
model = torch.export.load(FILE, extra_files=extra).module()
about = json.loads(extra["{METADATA}"])
# scan: float32 (X, Y, Z), normalised as about["normalise"] says, then resampled linearly to
# about["spacing_mm"] with axes in RAS+ order (to the right, to the front, up)
patches = torch.stack([...])[:, None]   # windows of about["patch"] voxels, any number of them
probability = model(patches)            # of foreground, (N, *patch)
# average overlapping windows (about["overlap"]), bring them to the scan's own voxels, threshold
mask = probability > about["threshold"]
"""


class Ensemble(nn.Module):
    """The mean foreground probability of several networks."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, patches: Tensor) -> Tensor:
        """From prepared patches (N, 1, X, Y, Z) to probabilities (N, X, Y, Z)."""
        each = [torch.softmax(network(patches).float(), dim=1)[:, 1] for network in self.networks]
        return torch.stack(each).mean(0)


def export_model(weights: Sequence[Path], config: Config, method: str, path: Path) -> None:
    """Writes networks and all that their input needs as one file.

    The file is a program of :mod:`torch.export`: it loads where neither this package nor MONAI is
    installed. It is read back and compared before it takes its place.

    Args:
        weights: Trained networks, whose probabilities are averaged.
        config: Settings they were trained with.
        method: The row, named in the metadata.
        path: File to write, ``.pt2``.

    Raises:
        UserError: If the file is there already, or has another suffix.
    """
    if path.suffix != _SUFFIX:
        raise problem(path, f"the suffix {path.suffix or '(none)'}", _SUFFIX, f"name it {_SUFFIX}")
    if path.exists():
        raise problem(path, "exists", "a file that is not there yet", "remove it, or name another")
    ensemble = Ensemble([load_network(one, torch.device("cpu")) for one in weights]).eval()
    patches = torch.rand(2, 1, *config.patch, generator=torch.Generator().manual_seed(0))
    batch = {0: torch.export.Dim("batch", min=1)}
    with torch.no_grad():
        expected = ensemble(patches)
        program = torch.export.export(ensemble, (patches,), dynamic_shapes=(batch,))
    about = json.dumps(metadata(config, method, len(weights)), indent=2)
    with replacing(path) as temporary:
        torch.export.save(program, temporary, extra_files={METADATA: about})
        with torch.no_grad():
            found = torch.export.load(temporary).module()(patches[:1])
        if not torch.allclose(found, expected[:1], atol=_TOLERANCE):
            raise RuntimeError("the exported model is not the trained one")


def metadata(config: Config, method: str, networks: int) -> dict[str, Any]:
    """What a user of the exported file has to know, and how it is used."""
    return {
        "method": method,
        "networks": networks,
        "patch": config.patch,
        "spacing_mm": config.spacing,
        "orientation": "RAS+",
        "intensity": config.intensity,
        "window": config.window if config.intensity != "zscore" else None,
        "normalise": _NORMALISING[config.intensity],
        "threshold": THRESHOLD,
        "overlap": config.overlap,
        "torch": torch.__version__,
        "usage": USAGE,
        "not_a_medical_device": "For research; not validated for any clinical use.",
    }


def export_model_command(parsed: argparse.Namespace) -> None:
    """Writes a row's networks as one file."""
    context = context_of(parsed)
    weights = find_weights(context.run, parsed.method)
    with warnings.catch_warnings():
        # PyTorch's own, of how it is built; nothing a user could mend.
        warnings.simplefilter("ignore")
        export_model(weights, context.config, parsed.method, parsed.file)
    print(f"{parsed.file}: {len(weights)} network(s). To use it, with PyTorch alone:\n\n{USAGE}")
