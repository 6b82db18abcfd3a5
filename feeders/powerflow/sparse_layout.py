"""Complex sparse matrices laid out as real ones: interleaved inside, planar outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from gradmap.feeders.model import ComplexArray, FloatArray
from gradmap.feeders.powerflow.sparse_matrix import SparseMatrix

Pair = tuple[SparseMatrix, SparseMatrix]


def real_matrix(complex_matrix: Any) -> sp.csr_matrix:
    """Writes a complex matrix as 2 x 2 real blocks, real and imaginary interleaved.

    Args:
        complex_matrix: `[row, column]`

    Returns:
        `[2 row, 2 column]`
    """
    matrix = sp.csr_matrix(complex_matrix)
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    return sp.csr_matrix(sp.kron(matrix.real, np.eye(2)) + sp.kron(matrix.imag, turn))


def interleaved(values: ComplexArray) -> FloatArray:
    """Each value's real part, then its imaginary part. `[2 n]`

    Args:
        values: `[n]`
    """
    return np.column_stack([values.real, values.imag]).ravel()


def planar_rows(count: int) -> sp.csr_matrix:
    """Permutation from interleaved to planar parts, `[2 count, 2 count]`.

    Args:
        count: Number of complex values.
    """
    row, each = np.arange(2 * count), max(count, 1)
    place = 2 * (row % each) + row // each
    return sp.csr_matrix((np.ones(2 * count), (row, place)), (2 * count, 2 * count))


def compensation_blocks(linear: ComplexArray, conjugate: ComplexArray) -> sp.csr_matrix:
    """`x -> linear x + conjugate conj(x)` on interleaved parts.

    Args:
        linear: `[n]`
        conjugate: `[n]`
    """
    both, gap = linear + conjugate, linear - conjugate
    first = 2 * np.arange(len(linear))
    values = np.concatenate([both.real, -gap.imag, both.imag, gap.real])
    row = np.concatenate([first, first, first + 1, first + 1])
    column = np.concatenate([first, first + 1, first, first + 1])
    return sp.csr_matrix((values, (row, column)))


def loss_form(series_siemens: Any) -> sp.csr_matrix:
    """Symmetric form of `Re(V^T conj(Y V))`, kW, on interleaved volts.

    Args:
        series_siemens: `Y`. `[n, n]`
    """
    form = real_matrix(series_siemens)
    return sp.csr_matrix(0.5e-3 * (form + form.T))


def column(values: FloatArray) -> Tensor:
    """Values as a column, `[n, 1]`.

    Args:
        values: `[n]`
    """
    return torch.from_numpy(np.ascontiguousarray(values))[:, None]


def pair(matrix: sp.csr_matrix) -> Pair:
    """A matrix beside its transpose, on the CPU.

    Args:
        matrix: The matrix.
    """
    return SparseMatrix(matrix), SparseMatrix(sp.csr_matrix(matrix.T))
