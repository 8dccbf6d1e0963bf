"""What a user has as a picture or a volume, as pixels to be shown."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LARGEST_SIDE = 256


def pixels(image: Any) -> Tensor:
    """Return ``image`` as uint8, ``(H, W)`` grey or ``(H, W, 3)``, no side above 256.

    Args:
        image: A tensor or an array ``(H, W)``, ``(C, H, W)`` or ``(H, W, C)`` with 1, 3 or 4
            channels, a volume ``(D, H, W)`` or ``(C, D, H, W)``, or a PIL image.

    Raises:
        TypeError: If it is no such thing.
        ValueError: If it is empty, or has another number of sides.
    """
    if hasattr(image, "convert") and hasattr(image, "tobytes"):
        return _plane(_of_pil(image))
    values = _as_tensor(image)
    if values.numel() == 0:
        raise ValueError(f"a picture has no pixels: its shape is {tuple(values.shape)}.")
    if values.dim() == 4:
        values = values[0] if values.shape[0] <= 4 else values[..., 0]
        return _volume(values)
    if values.dim() == 3 and values.shape[0] in (1, 3, 4):
        return _plane(values.movedim(0, -1))
    if values.dim() == 3 and values.shape[-1] in (1, 3, 4):
        return _plane(values)
    if values.dim() == 3:
        return _volume(values)
    if values.dim() == 2:
        return _plane(values.unsqueeze(-1))
    raise ValueError(
        f"a picture must be (H, W), (C, H, W), (H, W, C), or a volume (D, H, W); got shape "
        f"{tuple(values.shape)}."
    )


def _of_pil(image: Any) -> Tensor:
    width, height = image.size
    raw = bytearray(image.convert("RGB").tobytes())
    return torch.frombuffer(raw, dtype=torch.uint8).reshape(height, width, 3).cpu()


def _as_tensor(image: Any) -> Tensor:
    if isinstance(image, Tensor):
        return image.detach().cpu()
    try:
        return torch.as_tensor(image, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"a picture must be a tensor, an array or a PIL image; got {type(image).__name__}."
        ) from error


def _plane(values: Tensor) -> Tensor:
    """Return ``(H, W, channels)`` as pixels."""
    shown = values[..., :3] if values.shape[-1] >= 3 else values[..., :1]
    small = _smaller(_stretched(shown))
    return small if small.shape[-1] == 3 else small[..., 0]


def _volume(values: Tensor) -> Tensor:
    """Return the middle slices across each side, ``(D, H, W)``, one beside the other."""
    middle = [side // 2 for side in values.shape]
    whole = _stretched(values)
    slices = [whole[middle[0]], whole[:, middle[1]], whole[:, :, middle[2]]]
    tallest = max(len(part) for part in slices)
    placed = []
    for part in slices:
        canvas = part.new_zeros(tallest, part.shape[1])
        top = (tallest - len(part)) // 2
        canvas[top : top + len(part)] = part
        placed.append(canvas)
    return _smaller(torch.cat(placed, dim=1).unsqueeze(-1), 2 * LARGEST_SIDE)[..., 0]


def _stretched(values: Tensor) -> Tensor:
    """Return uint8 in 0..255: as they are where they are in a picture's range, else stretched."""
    if values.dtype == torch.uint8:
        return values
    if values.dtype == torch.bool:
        return values.to(torch.uint8) * 255
    largest = 1.0 if values.is_floating_point() else 255.0
    numbers = (values.real if values.is_complex() else values).double()
    known = numbers[numbers.isfinite()]
    low, high = (float(known.min()), float(known.max())) if known.numel() else (0.0, 0.0)
    if low < 0 or high > largest:
        numbers = (numbers - low) / max(high - low, 1e-12)
    else:
        numbers = numbers / largest
    return (numbers.nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8)


def _smaller(values: Tensor, largest: int = LARGEST_SIDE) -> Tensor:
    """Return ``(H, W, channels)`` with no side above ``largest``."""
    height, width = values.shape[:2]
    if max(height, width) <= largest:
        return values
    scale = largest / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    planes = values.movedim(-1, 0).unsqueeze(0).float()
    small = torch.nn.functional.interpolate(planes, size=size, mode="area")
    return small[0].movedim(0, -1).round().to(torch.uint8)
