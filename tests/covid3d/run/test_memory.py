"""Peak memory does not grow with the number of scans."""

import tracemalloc

import numpy as np
import pytest

from examples.covid3d.measure.report.cases.volumes import axial
from examples.covid3d.scans.geometry import Grid
from examples.covid3d.scans.store import StoredScan, write_scan
from examples.covid3d.train.loader import Ahead
from examples.covid3d.train.patches import PatchSampler

SHAPE = (100, 100, 100)
SCAN = 4_000_000


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Forty scans of 4 MB."""
    folder = tmp_path_factory.mktemp("scans")
    image = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    mask = np.zeros(SHAPE, np.uint8)
    mask[40:44, 40:44, 40:44] = 1
    grid = Grid(SHAPE, np.eye(4))
    for i in range(40):
        write_scan(folder / f"{i}", image, mask, {"grid": grid, "own_grid": grid}, {})
    return [StoredScan(f"{i}", folder / f"{i}", folder / f"{i}") for i in range(40)]


def peak(work):
    """Peak bytes that Python and NumPy allocate, mapped files not counted."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def drawing(scans, wrapped=False):
    plain = PatchSampler(scans, (32, 32, 32), 4, 0.5, 0, 0)
    sampler = Ahead(plain) if wrapped else plain

    def work():
        for step in range(60):
            sampler.draw(step)

    return work


@pytest.mark.parametrize("wrapped", [False, True])
def test_drawing_batches_of_many_scans_takes_no_more_than_of_few(stored, wrapped):
    drawing(stored[:1])()
    few, many = peak(drawing(stored[:4], wrapped)), peak(drawing(stored, wrapped))
    # Whether the next batch is being drawn at the peak is chance.
    assert many < few + SCAN / (2 if wrapped else 4)
    assert many < SCAN


def test_the_measure_would_notice_a_scan_that_is_held(stored):
    held = []
    assert peak(lambda: held.extend(np.array(scan.image) for scan in stored[:4])) > 4 * SCAN


def anonymous():
    """Bytes of this process that no file is behind."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as stream:  # noqa: PTH123
        (line,) = [line for line in stream if line.startswith("Anonymous:")]
    return int(line.split()[1]) * 1024


def test_nor_does_the_process_grow_by_the_scans_that_it_has_seen(stored):
    try:
        anonymous()
    except OSError as error:
        pytest.skip(f"no smaps_rollup here ({error})")
    drawing(stored[:4])()
    before = anonymous()
    drawing(stored)()
    assert anonymous() - before < 4 * SCAN


def test_neither_sampler_nor_scan_holds_an_array(stored):
    sampler = PatchSampler(stored, (32, 32, 32), 4, 0.5, 0, 0)
    sampler.draw(0)
    seen = [sampler, *stored]
    for thing in seen:
        assert not any(isinstance(value, np.ndarray) for value in vars(thing).values())
    assert isinstance(stored[0].image, np.memmap)
    assert isinstance(stored[0].mask, np.memmap)
    assert isinstance(stored[0].foreground, np.memmap)


def test_a_slice_of_the_overlay_does_not_keep_its_volume():
    volume = np.zeros((30, 20, 10), np.float32)
    shown = axial(volume, 3)
    assert shown.shape == (20, 30)
    assert not np.shares_memory(shown, volume)
