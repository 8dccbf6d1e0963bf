from __future__ import annotations

import pytest
import torch

from benchmarks.label_noise.dataset import read_dataset
from tests.benchmarks.label_noise.made_up import write_folder


@pytest.fixture(autouse=True, scope="package")
def one_thread_here():
    """As in the processes that train."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("idx"))


@pytest.fixture(scope="session")
def data(folder):
    return read_dataset(folder)
