"""Voltages and loadings around solved power flows, when some powers change.

What limits are set on, and no more: with a dense network at taps of its own the
way from powers to node voltages and branch currents is then one product of
matrices, in single precision, which for a change is plenty.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from gradmap.feeders.powerflow import flows
from gradmap.feeders.powerflow.dense import DenseMaps
from gradmap.feeders.powerflow.linear import LinearPowerFlow
from gradmap.feeders.powerflow.planar import magnitude
from gradmap.feeders.powerflow.solve import PowerFlow
from gradmap.feeders.powerflow.sparse_linear import SparseLinearPowerFlow

LinearFeeder = LinearPowerFlow | SparseLinearPowerFlow
"""The network to first order, dense or sparse."""


class NearbyFlows:
    """What some days' voltages and loadings would be at other powers.

    Args:
        linear: The network to first order.
        flow: Solutions of the days; no gradient flows into them. `[day, time]`
        nodes: Nodes whose voltage is asked for, int64.
        branches: Branches whose loading is asked for, int64.
    """

    def __init__(
        self, linear: LinearFeeder, flow: PowerFlow, nodes: Tensor, branches: Tensor
    ) -> None:
        self._linear = linear
        self._flow = flow
        self._nodes = nodes
        self._branches = branches
        network = flow.network
        place = torch.full((len(network.feeder.branches),), -1, device=branches.device)
        place[branches] = torch.arange(len(branches), device=branches.device)
        place = place[network.conductor_branch]
        self._conductors = (place >= 0).nonzero().flatten()
        self._place = place[self._conductors]
        self._rating_a = network.rating_a[self._conductors].float()
        days, steps = flow.converged.shape
        self._u, self._j = (x.detach().view(days, steps, -1) for x in (flow.u, flow.j))
        self._product: tuple[Tensor, Tensor] | None = None
        maps = flow.maps
        if isinstance(linear, LinearPowerFlow) and isinstance(maps, DenseMaps):
            parts = _columns(maps.node, nodes), _columns(maps.conductor, self._conductors)
            columns = torch.cat(parts, dim=1)
            at = (self._j.nan_to_num(0.0) @ columns).float()
            self._product = (at, (linear.current @ columns).float())

    def move(self, rows: Tensor, p_kw: Tensor, q_kvar: Tensor) -> tuple[Tensor, Tensor]:
        """Changes powers on some of the days, to first order of the currents.

        Args:
            rows: Which days. `[row]`, int64
            p_kw: Change of active power of the linear model's terminals.
                `[row, time, terminal]`
            q_kvar: Change of reactive power, likewise.

        Returns:
            Voltage magnitudes of the nodes, p.u., and loadings of the
            branches, float32, differentiable in the changes; where the solution did
            not converge they mean nothing, and gradients are finite.
            `[row, time, node]` and `[row, time, branch]`
        """
        if self._product is None:
            flow = self._linear.move(self._rows(rows), p_kw, q_kvar)
            found = flow.v_magnitude_pu[..., self._nodes], flow.branch_loading[..., self._branches]
            return found[0].float(), found[1].float()
        at, matrix = self._product
        change = torch.cat((p_kw, q_kvar), dim=-1).flatten(0, 1).to(matrix.dtype)
        planar = torch.addmm(at[rows].flatten(0, 1), change, matrix)
        num = 2 * len(self._nodes)
        v_pu = magnitude(planar[:, :num])
        share = magnitude(planar[:, num:]) / self._rating_a
        loading = flows.largest_of_group(share, self._place, len(self._branches))
        return tuple(x.view(*p_kw.shape[:2], -1) for x in (v_pu, loading))  # type: ignore[return-value]

    def _rows(self, rows: Tensor) -> PowerFlow:
        flow, tapped = self._flow, self._flow.tapped
        if tapped is not None:
            steps = torch.arange(self._u.shape[1], device=rows.device)
            tapped = tapped.rows((rows[:, None] * len(steps) + steps).flatten())
        return dataclasses.replace(
            flow,
            tapped=tapped,
            converged=flow.converged[rows],
            iterations=flow.iterations[rows],
            residual=flow.residual[rows],
            u=self._u[rows].flatten(0, 1),
            j=self._j[rows].flatten(0, 1),
        )


def _columns(planar: Tensor, some: Tensor) -> Tensor:
    """Some of the columns of a map to planar values."""
    real, imaginary = planar.chunk(2, dim=1)
    return torch.cat((real[:, some], imaginary[:, some]), dim=1)
