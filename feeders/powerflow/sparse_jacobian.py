"""The slope of a power flow in the unknowns of a sparse network.

With `A` the compensated admittance, `R` what brings port currents to its
right-hand side, `P` what brings its unknowns `x` to port voltages, and `D` the
derivative of the port currents with respect to those voltages,

    A x = R j(P x, s),        (A - R D P) dx = R (dj/ds) ds.

The matrix on the left is as sparse as `A` itself. Factorised at a solution, it
gives every slope of that solution, forward or back, one solve for each.
"""

from __future__ import annotations

from typing import Any

import scipy.sparse as sp

from gradmap.feeders.model import FloatArray


def turned_back(derivative: FloatArray) -> sp.csr_matrix:
    """Lays `D^T` out.

    Args:
        derivative: Gradient of the real part of `j` at each port with respect
            to its voltage, planar, then that of the imaginary part,
            `[2, 2, port]`.

    Returns:
        `[2 port, 2 port]`, planar.
    """
    (re_re, re_im), (im_re, im_im) = derivative
    blocks = [[sp.diags(re_re), sp.diags(im_re)], [sp.diags(re_im), sp.diags(im_im)]]
    return sp.csr_matrix(sp.block_array(blocks))


def transposed_jacobian(maps: Any, pulled: sp.csr_matrix) -> sp.csc_matrix:
    """Makes `(A - R D P)^T`.

    Args:
        maps: The maps, a `SparseMaps`.
        pulled: `P^T D^T`, `[2 node, 2 port]`.

    Returns:
        `[2 node, 2 node]`, in the maps' order of unknowns.
    """
    return sp.csc_matrix(maps.system[1].csr - pulled @ maps.right[1].csr)
