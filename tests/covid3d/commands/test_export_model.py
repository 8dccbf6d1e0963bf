"""One file, loaded where neither this package nor MONAI can be imported."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from examples.covid3d.commands.cli import main
from examples.covid3d.commands.export_model import USAGE, export_model
from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import write_torch
from examples.covid3d.train.inference import foreground_probability, load_network
from examples.covid3d.train.network import initial_network
from tests.covid3d.running import small

CPU = torch.device("cpu")

# Importing what is not there is an error; so is importing what this must do without.
ALONE = """
import sys
for name in ("monai", "reweight", "examples", "support", "nibabel"):
    sys.modules[name] = None
import numpy
FILE, patches, out = sys.argv[1:]
{loaded}
with torch.no_grad():
    numpy.save(out, model(torch.from_numpy(numpy.load(patches))).numpy())
print(json.dumps(about))
""".format(loaded=USAGE.split("#")[0])


@pytest.fixture
def weights(tmp_path):
    """Two networks, one of them with instance normalisation."""
    paths = [tmp_path / "a.pt", tmp_path / "b.pt"]
    for seed, (path, norm) in enumerate(zip(paths, ("batch", "instance"), strict=True)):
        write_torch(path, initial_network(seed, CPU, (4, 8), norm).state_dict())
    return paths


def test_it_gives_what_predict_computes_with_torch_alone(tmp_path, weights):
    config = small(patch=(16, 16, 16), window=(-1000.0, 400.0))
    export_model(weights, config, "rgs", tmp_path / "model.pt2")
    patches = np.random.default_rng(0).random((3, 1, 16, 16, 16), dtype=np.float32)
    np.save(tmp_path / "patches.npy", patches)
    done = subprocess.run(
        [sys.executable, "-P", "-c", ALONE, *map(str, (
            tmp_path / "model.pt2", tmp_path / "patches.npy", tmp_path / "out.npy"))],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "out.npy")
    for one, patch in zip(found, patches, strict=True):
        # A window of the scan's size is one pass of each network.
        each = [
            foreground_probability(load_network(w, CPU), patch[0], (16,) * 3, 0) for w in weights
        ]
        np.testing.assert_allclose(one, torch.stack(each).mean(0), atol=1e-5)
    about = json.loads(done.stdout)
    assert (about["patch"], about["spacing_mm"]) == ([16, 16, 16], [2.0, 2.0, 3.0])
    assert (about["window"], about["threshold"]) == ([-1000.0, 400.0], 0.5)
    assert (about["method"], about["networks"]) == ("rgs", 2)
    assert about["usage"] == USAGE


def test_a_row_of_a_run_is_exported_and_its_usage_printed(finished, tmp_path, capsys):
    file = tmp_path / "model.pt2"
    arguments = ["export-model", "--out", str(finished[0]), "--method", "equal", str(file)]
    assert main(arguments) == 0
    assert "torch.export.load(FILE" in capsys.readouterr().out
    before = file.read_bytes()
    assert main(arguments) == 2
    assert "exists" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]


def test_another_suffix_is_refused(tmp_path, weights):
    with pytest.raises(UserError, match="the suffix"):
        export_model(weights, small(), "rgs", tmp_path / "model.pth")
