"""Elimination in rounds, and the solves that follow from it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from gradmap.feeders.powerflow.sparse_elimination import eliminate
from gradmap.feeders.powerflow.sparse_matrix import SparseMatrix, Substitution, as_tensor


def random_matrix(count: int, extra: int, seed: int) -> tuple[sp.csr_matrix, np.ndarray]:
    """A tree of blocks of 2 to 6 rows with `extra` more links; not symmetric."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(count), rng.integers(2, 7, count))
    links = [(k, int(rng.integers(max(0, k - 5), k))) for k in range(1, count)]
    links += [tuple(rng.choice(count, 2, replace=False)) for _ in range(extra)]
    matrix = np.zeros((len(group), len(group)))
    for a, b in [*links, *((k, k) for k in range(count))]:
        for first, second in ((a, b), (b, a)):
            at = np.ix_(group == first, group == second)
            matrix[at] = rng.normal(size=matrix[at].shape)
    matrix += 12.0 * np.eye(len(group)) * np.sign(np.diag(matrix))
    return sp.csr_matrix(matrix), group


@pytest.mark.parametrize(("count", "extra"), [(1, 0), (10, 0), (150, 0), (150, 60), (60, 900)])
def test_solves_and_transposed_solves(count, extra):
    """One block, a tree, a mesh, and something that is nearly full."""
    matrix, group = random_matrix(count, extra, seed=count + extra)
    factors = eliminate(matrix, group)
    assert sorted(factors.order.tolist()) == list(range(len(group)))
    right = np.random.default_rng(0).normal(size=(len(group), 7))
    for used, mine in ((factors, matrix), (factors.transposed(), matrix.T)):
        columns = torch.from_numpy(right[used.order])
        found = Substitution(used).solve_(columns)
        assert found is columns
        back = np.empty_like(right)
        back[used.order] = found.numpy()
        np.testing.assert_allclose(mine @ back, right, atol=1e-10)


def test_rounds_are_few_and_fill_is_little():
    """A tree of 3,000 blocks, some hundred links deep."""
    count = 3000
    rng = np.random.default_rng(0)
    parent = [max(0, k - int(rng.integers(1, 4))) for k in range(1, count)]
    pairs = np.array([(k + 1, p) for k, p in enumerate(parent)])
    links = sp.coo_matrix((np.full(len(pairs), -1.0), pairs.T), (count, count))
    matrix = sp.csr_matrix(links + links.T + 7.0 * sp.identity(count))
    factors = eliminate(matrix, np.arange(count))
    assert len(factors.bounds) < 20
    assert factors.lower.nnz + factors.upper.nnz < 2.5 * matrix.nnz


def test_rows_of_a_group_need_not_touch():
    matrix, group = random_matrix(40, 5, seed=3)
    factors = eliminate(matrix, group % 23)
    right = torch.randn(len(group), 2, dtype=torch.float64)
    found = torch.empty_like(right)
    found[factors.order] = Substitution(factors).solve_(right[factors.order])
    np.testing.assert_allclose(matrix @ found.numpy(), right, atol=1e-10)


def test_singular_block_is_an_error():
    with pytest.raises(np.linalg.LinAlgError):
        eliminate(sp.csr_matrix((4, 4)), np.arange(4))


def test_torch_multiplies_as_scipy_does():
    """What runs on an accelerator, tried on the CPU."""
    matrix, group = random_matrix(30, 5, seed=1)
    columns = torch.randn(len(group), 5, dtype=torch.float64)
    expected = SparseMatrix(matrix) @ columns
    torch.testing.assert_close(as_tensor(SparseMatrix(matrix).csr) @ columns, expected)
    used = eliminate(matrix, group)
    solver = Substitution(used)
    for _, _, part in solver._forward + solver._backward:
        part._tensor = as_tensor(part.csr)
    found = solver.solve_(columns[used.order])
    torch.testing.assert_close(found, Substitution(used).solve_(columns[used.order]))
