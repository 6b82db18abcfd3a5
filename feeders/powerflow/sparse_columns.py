"""Linear maps of columns of scenarios, applied to rows, chunk by chunk and with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gradmap.feeders.powerflow.sparse_matrix import SparseMatrix

_CPU_CHUNK = 16  # scenarios side by side, so that the columns stay in the cache
_CUDA_CHUNK = 4096

ColumnMap = Callable[[Tensor], Tensor]


class _Applied(torch.autograd.Function):
    """A linear map of rows and its transpose."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        forward: ColumnMap,
        backward: ColumnMap,
        width: int,
    ) -> Tensor:
        ctx.backward_map, ctx.width, ctx.dtype = backward, rows.shape[1], rows.dtype
        return by_rows(forward, rows, rows.new_empty(len(rows), width, dtype=torch.float64))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        found = grad.new_empty(len(grad), ctx.width, dtype=ctx.dtype)
        return by_rows(ctx.backward_map, grad, found), None, None, None


def apply_columns(rows: Tensor, forward: ColumnMap, backward: ColumnMap, width: int) -> Tensor:
    """Applies a linear map of columns to rows, differentiable by its transpose.

    Args:
        rows: `[batch, in]`.
        forward: From float64 columns `[in, batch]` to `[width, batch]`.
        backward: Its transpose.
        width: Length of the rows that come out.

    Returns:
        `[batch, width]`, float64.
    """
    result: Tensor = _Applied.apply(rows, forward, backward, width)  # type: ignore[no-untyped-call]
    return result


def affine(rows: Tensor, pair: tuple[SparseMatrix, SparseMatrix], constant: Tensor) -> Tensor:
    """Applies a sparse matrix to rows and adds a constant.

    Args:
        rows: `[batch, in]`.
        pair: The matrix, `[out, in]`, beside its transpose.
        constant: `[out, 1]`, float64.

    Returns:
        `[batch, out]`, float64.
    """
    plain, transposed = pair

    def forward(columns: Tensor) -> Tensor:
        return (plain @ columns).add_(constant)

    return apply_columns(rows, forward, transposed.__matmul__, plain.csr.shape[0])


def by_rows(columns: ColumnMap, rows: Tensor, found: Tensor) -> Tensor:
    """Applies a map of float64 columns to rows, chunk by chunk.

    Args:
        columns: From `[in, batch]` to `[out, batch]`.
        rows: `[batch, in]`.
        found: Filled with the result, `[batch, out]`.

    Returns:
        `found`.
    """
    size = _CPU_CHUNK if rows.device.type == "cpu" else _CUDA_CHUNK
    for given, place in zip(rows.split(size), found.split(size), strict=True):
        place.copy_(columns(given.T.to(torch.float64, memory_format=torch.contiguous_format)).T)
    return found
