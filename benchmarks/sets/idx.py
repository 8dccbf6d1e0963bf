"""The IDX format of MNIST and its relatives (https://yann.lecun.org/exdb/mnist/)."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import UserError

_UNSIGNED_BYTE = 0x08
SOURCE = "https://github.com/zalandoresearch/fashion-mnist"


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or compressed with gzip.

    Args:
        path: The file; one that starts with gzip's two bytes is unpacked.
        dimensions: How many dimensions it must have: 1 for labels, 3 for images.

    Raises:
        UserError: If it cannot be read, or is not such a file, whole and without anything more.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}). {_get_it()}") from error
    header = 4 + 4 * dimensions
    magic = struct.pack(">HBB", 0, _UNSIGNED_BYTE, dimensions)
    if content[:4] != magic:
        raise UserError(
            f"{path} is not an IDX file of unsigned bytes in {dimensions} dimension(s): it starts "
            f"with {content[:4].hex()}, not {magic.hex()}. {_get_it()}"
        )
    if len(content) < header:
        raise UserError(f"{path} ends within its header. {_get_it()}")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected = int(np.prod(shape, dtype=np.int64))
    if len(content) - header != expected:
        raise UserError(
            f"{path} holds {len(content) - header} bytes of data where its header says "
            f"{' × '.join(map(str, shape))} = {expected}. {_get_it()}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def find_idx(folder: Path, name: str) -> Path:
    """Return the file of that name in the folder, unpacked or with ``.gz``.

    Raises:
        UserError: If neither is there.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise UserError(f"{folder} has neither {name} nor {name}.gz. {_get_it()}")


def _get_it() -> str:
    return f"The four files of Fashion-MNIST are at {SOURCE}."
