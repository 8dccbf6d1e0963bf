"""Pixels as a PNG file, by nothing but zlib."""

from __future__ import annotations

import base64
import struct
import zlib

import torch
from torch import Tensor

_GREY, _RGB = 0, 2


def png(pixels: Tensor) -> bytes:
    """Return the PNG file of ``pixels``, uint8, ``(H, W)`` grey or ``(H, W, 3)`` RGB."""
    height, width = pixels.shape[:2]
    kind = _GREY if pixels.dim() == 2 else _RGB
    rows = pixels.cpu().reshape(height, -1)
    # Before each row stands how it is coded: 0, as it is.
    coded = torch.cat([rows.new_zeros(height, 1), rows], dim=1)
    raw = bytes(coded.flatten().tolist())
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(raw, 9))
        + _chunk(b"IEND", b"")
    )


def data_uri(pixels: Tensor) -> str:
    """Return the same, to be put into a page."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode("ascii")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
