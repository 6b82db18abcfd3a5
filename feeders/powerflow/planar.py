"""Planar values: real parts first, then imaginary parts, along the last axis."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_CHUNK = 256  # CPU rows at a time, so that their image stays in the cache


class _AffineMagnitude(torch.autograd.Function):
    """Magnitudes of `rows @ matrix`; their derivative at 0 is 0, not NaN."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, matrix: Tensor) -> Tensor:
        if ctx.needs_input_grad[0]:
            planar = torch.mm(rows, matrix)
            magnitudes = _root_of_squares(*planar.chunk(2, dim=1))
            ctx.save_for_backward(planar, magnitudes, matrix)
            return magnitudes
        parts = rows.split(_CHUNK) if rows.device.type == "cpu" else (rows,)
        pieces = [_root_of_squares(*torch.mm(part, matrix).chunk(2, dim=1)) for part in parts]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        planar, magnitudes, matrix = ctx.saved_tensors
        scaled = grad / magnitudes.clamp_min(torch.finfo(magnitudes.dtype).tiny)
        shaped = planar.view(len(planar), 2, -1)
        pulled = (shaped * scaled.unsqueeze(1)).view_as(planar)
        return torch.mm(pulled, matrix.T), None


def _root_of_squares(re: Tensor, im: Tensor) -> Tensor:
    return torch.mul(re, re).addcmul_(im, im).sqrt_()


def affine_magnitude(rows: Tensor, matrix: Tensor) -> Tensor:
    """Takes magnitudes of a planar linear image; the gradient at 0 is 0.

    Args:
        rows: `[batch, in]`.
        matrix: To planar values, `[in, 2 n]`.

    Returns:
        Magnitudes, `[batch, n]`.
    """
    result: Tensor = _AffineMagnitude.apply(rows, matrix)  # type: ignore[no-untyped-call]
    return result


class _Magnitude(torch.autograd.Function):
    """`sqrt(re^2 + im^2)` with derivative 0 at 0, where autograd gives NaN."""

    @staticmethod
    def forward(ctx: Any, re: Tensor, im: Tensor) -> Tensor:
        magnitudes = _root_of_squares(re, im)
        ctx.save_for_backward(re, im, magnitudes)
        return magnitudes

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        re, im, magnitudes = ctx.saved_tensors
        scaled = grad / magnitudes.clamp_min(torch.finfo(magnitudes.dtype).tiny)
        return scaled * re, scaled * im


def magnitude(planar: Tensor) -> Tensor:
    """Takes magnitudes of planar values; the gradient at 0 is 0.

    Args:
        planar: Real parts, then imaginary parts, `[..., 2 n]`.

    Returns:
        Magnitudes, `[..., n]`.
    """
    return magnitude_of(*planar.chunk(2, dim=-1))


def magnitude_of(re: Tensor, im: Tensor) -> Tensor:
    """Does the same for real and imaginary parts given apart."""
    result: Tensor = _Magnitude.apply(re, im)  # type: ignore[no-untyped-call]
    return result


def to_complex(planar: Tensor) -> Tensor:
    """Joins planar values `[..., 2 n]` into complex ones `[..., n]`."""
    re, im = planar.chunk(2, dim=-1)
    return torch.complex(re, im)
