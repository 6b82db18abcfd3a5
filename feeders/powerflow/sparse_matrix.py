"""Sparse matrices over columns of scenarios, and what is made of them, in double precision.

On a CPU scipy multiplies: its inner loop runs over the scenarios of a row,
which lie side by side. (16 columns by a matrix of 84,000 entries: scipy 0.6
ms, torch with MKL 2.5 ms on one thread.) Elsewhere torch does.
"""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from gradmap.feeders.powerflow.sparse_elimination import Factors


class SparseMatrix:
    """A real sparse matrix on a device.

    Args:
        matrix: The matrix.
        device: Where the columns will be.

    Attributes:
        csr: The matrix on the CPU, with small indices.
    """

    def __init__(self, matrix: sp.csr_matrix, device: torch.device | str = "cpu") -> None:
        csr = sp.csr_matrix(matrix)
        csr.sum_duplicates()
        csr.indices, csr.indptr = csr.indices.astype(np.int32), csr.indptr.astype(np.int32)
        self.csr = csr
        self._tensor: Tensor | None = None
        if torch.device(device).type != "cpu":
            self._tensor = as_tensor(csr).to(device)

    def to(self, device: torch.device | str) -> SparseMatrix:
        """Makes the same matrix for another device."""
        return SparseMatrix(self.csr, device)

    @property
    def num_bytes(self) -> int:
        """Bytes of values and indices."""
        return int(self.csr.data.nbytes + self.csr.indices.nbytes + self.csr.indptr.nbytes)

    def __matmul__(self, columns: Tensor) -> Tensor:
        """Multiplies float64 columns, `[in, batch]`, contiguous; gives `[out, batch]`."""
        if self._tensor is not None:
            return self._tensor @ columns
        return torch.from_numpy(self.csr @ columns.numpy())


def as_tensor(csr: sp.csr_matrix) -> Tensor:
    """Makes a sparse torch tensor of a scipy matrix."""
    pointers, indices, values = map(torch.from_numpy, (csr.indptr, csr.indices, csr.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            pointers, indices, values, size=csr.shape, check_invariants=True
        )


class Substitution:
    """Solves by factors, one matrix product for each round there and back.

    Args:
        factors: The factors; right-hand sides and solutions are in their
            order of rows.
        device: Where these will be.
    """

    def __init__(self, factors: Factors, device: torch.device | str = "cpu") -> None:
        self._factors = factors
        bounds = list(zip(factors.bounds[:-1], factors.bounds[1:], strict=True))
        back = sp.csr_matrix(factors.inverse - factors.upper)
        self._forward = [
            (first, last, SparseMatrix(-factors.lower[first:last, :first], device))
            for first, last in bounds[1:]
        ]
        self._backward = [
            (first, last, SparseMatrix(back[first:last, first:], device))
            for first, last in reversed(bounds)
        ]

    def to(self, device: torch.device | str) -> Substitution:
        """Makes the same solver for another device."""
        return Substitution(self._factors, device)

    @property
    def num_bytes(self) -> int:
        """Bytes of the factors."""
        return sum(matrix.num_bytes for *_, matrix in self._forward + self._backward)

    def solve_(self, columns: Tensor) -> Tensor:
        """Solves for columns, `[n, batch]`, in place.

        Args:
            columns: Right-hand sides, float64, contiguous; overwritten.

        Returns:
            The solutions, in the same memory.
        """
        for first, last, matrix in self._forward:
            columns[first:last] += matrix @ columns[:first]
        for first, last, matrix in self._backward:
            columns[first:last] = matrix @ columns[first:]
        return columns

    def refined(self, right: Tensor, system: SparseMatrix, steps: int) -> Tensor:
        """Solves for columns with refinement.

        Args:
            right: Right-hand sides; overwritten where there is no step.
            system: The matrix itself.
            steps: Steps of refinement.

        Returns:
            The solutions, `[n, batch]`.
        """
        found = self.solve_(right.clone() if steps else right)
        for _ in range(steps):
            found += self.solve_(right - system @ found)
        return found
