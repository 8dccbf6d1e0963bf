from __future__ import annotations

import pytest
import torch

from benchmarks.sets.idx_folder import read_images
from tests.benchmarks.trials.made_up import (
    write_folder,
    write_names,
    write_photographs,
    write_rules,
)


@pytest.fixture
def one_thread_here():
    """As in the processes that train."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    # SciPy's trees of points recurse without end where tiny numbers are taken as 0.
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("idx"))


@pytest.fixture(scope="session")
def data(folder):
    return read_images(folder)


@pytest.fixture(scope="session")
def every_set(tmp_path_factory):
    """A folder of all data sets, small."""
    root = tmp_path_factory.mktemp("sets")
    write_folder(root / "fashion_mnist")
    write_photographs(root / "cifar10n")
    write_rules(root / "weak_rules" / "youtube")
    write_rules(root / "weak_rules" / "hausa")
    write_names(root / "distant_ner")
    return root
