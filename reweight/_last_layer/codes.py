"""Whether each part of the layer's output reaches the loss it is said to belong to, and no other.

Scale every loss by a code of its own, and the gradient of each part of the output must be scaled
by its owner's code: whoever contributes brings its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from reweight._dtypes import at_least_float32

# Three binary digits at a time: larger powers of two could leave the range of half precision.
DIGIT = 3
_LARGEST_CODE = 2.0 ** (2**DIGIT)


def digit_codes(count: int, device: torch.device) -> Iterator[Tensor]:
    """Yield codes ``(N,)``, powers of two, such that any two losses differ in one of them.

    To scale a cotangent by a power of two scales what comes out of a backward pass bit for bit.
    """
    numbers = torch.arange(count, device=device)
    for shift in range(0, (count - 1).bit_length(), DIGIT):
        yield 2.0 ** ((numbers >> shift) & (2**DIGIT - 1)).float()


def one_code(count: int, device: torch.device, seed: int) -> Tensor:
    """Return codes ``(N,)`` in which all losses differ, shuffled by ``seed``.

    As far apart as one backward pass can have them: losses of one power of two have evenly spread
    factors of it. What is closest in one step is elsewhere in the next.
    """
    generator = torch.Generator().manual_seed(seed)  # the user's random numbers stay theirs
    places = torch.randperm(count, generator=generator, device="cpu").to(device, non_blocking=True)
    levels = 2**DIGIT
    within = torch.div(places, levels, rounding_mode="floor").float() / -(-count // levels)
    codes: Tensor = 2.0 ** (places % levels).float() * (1 + within)
    return codes


def least(rows: Tensor) -> Tensor:
    """Return the magnitude below which a gradient in ``rows`` is taken for rounding, a scalar.

    That is what denormals, and kernels that flush them to zero, leave of it; and what is so far
    below the largest number of the batch that no score can show it.
    """
    about = torch.finfo(rows.dtype)
    smallest = about.tiny
    if rows.dtype == torch.float16:  # its denormals are in ordinary use
        smallest = 64 * about.tiny * about.eps
    return at_least_float32(rows.abs().amax()) * about.eps**2 + smallest


def scaled_by_code(
    scaled: Tensor, rows: Tensor, codes: Tensor, reach: Tensor, *, exact_codes: bool
) -> Tensor:
    """Whether ``scaled`` is ``rows`` times ``codes``, but for rounding: a scalar.

    Args:
        scaled: What the backward pass of the scaled losses gave.
        rows: What that of the losses themselves gave.
        codes: The owner's code, in a shape that broadcasts to that of ``rows``; 0: no owner.
        reach: Magnitudes that the rounding of each number is relative to, as ``codes``.
        exact_codes: Whether the codes are powers of two. Then a kernel that always sums in one
            order makes no error at all; others are a few units in the last place off.
    """
    eps = torch.finfo(rows.dtype).eps
    units = 64 if not exact_codes else 4 if is_half(rows) else 16
    difference = (at_least_float32(rows) * codes).sub_(scaled).abs()
    limit = codes * reach * (units * eps)
    limit = limit + torch.where(codes > 0, codes, _LARGEST_CODE) * least(rows) * 2
    return (difference <= limit).all()


def is_half(rows: Tensor) -> bool:
    """Whether numbers are so coarse that only powers of two can serve as codes."""
    return torch.finfo(rows.dtype).eps > 1e-4
