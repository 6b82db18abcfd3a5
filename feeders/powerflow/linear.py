"""A power flow to first order: currents move in proportion to powers, nothing is solved.

Voltages and branch currents are affine in the port currents, so that only the
currents are linearised; magnitudes of voltages and currents stay exact in them.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from gradmap.feeders.errors import GradmapError
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import PowerFlow, solve_power_flow

STEP_KW = 1.0
"""Half the distance of the central differences: small beside any load's power
(the error grows with its square), large beside the solver's tolerance."""


@dataclasses.dataclass(frozen=True, eq=False)
class LinearPowerFlow:
    """How port currents and voltages answer to the powers of some terminals.

    Attributes:
        network: The network.
        current: Change of the port currents, planar, for each kW, then for
            each kvar, of those terminals. `[2 terminal, 2 port]`
        voltage: The same of the port voltages. `[2 terminal, 2 port]`
    """

    network: Network
    current: Tensor
    voltage: Tensor

    @classmethod
    def around(
        cls, network: Network, p_kw: Tensor, q_kvar: Tensor, terminals: Tensor
    ) -> LinearPowerFlow:
        """Takes the slopes at an operating point, by central differences.

        Args:
            network: The network.
            p_kw: Active power of the operating point. `[terminal]`
            q_kvar: Reactive power. `[terminal]`
            terminals: The terminals whose powers will change, int64.

        Returns:
            The linear model, in the network's precision.

        Raises:
            GradmapError: If a power flow near the operating point has no solution.
        """
        # Differences of single-precision solutions would be mostly rounding.
        precise = network
        if network.dtype != torch.complex128:
            has_devices = network.num_terminals > network.num_load_terminals
            precise = Network.from_feeder(
                network.feeder,
                devices=has_devices,
                dtype=torch.complex128,
                device=network.device,
                method=network.method,
            )
        num = len(terminals)
        moves = torch.zeros(4, num, network.num_terminals, dtype=torch.float64, device=p_kw.device)
        rows = torch.arange(num, device=p_kw.device)
        moves[0, rows, terminals] = moves[2, rows, terminals] = STEP_KW
        moves[1, rows, terminals] = moves[3, rows, terminals] = -STEP_KW
        still = torch.zeros_like(moves[:2])
        solved = solve_power_flow(
            precise,
            p_kw.double() + torch.cat((moves[:2], still)).flatten(0, 1),
            q_kvar.double() + torch.cat((still, moves[2:])).flatten(0, 1),
            tolerance_pu=1e-11,
        )
        if not bool(solved.converged.all()):
            raise GradmapError(
                "the operating point of the linear power flow has no solution; choose another"
            )

        def slope(values: Tensor) -> Tensor:
            p_up, p_down, q_up, q_down = values.chunk(4)
            change = torch.cat((p_up - p_down, q_up - q_down)) / (2.0 * STEP_KW)
            return change.to(network.real_dtype)

        return cls(network, slope(solved.j), slope(solved.u))

    def move(self, flow: PowerFlow, p_kw: Tensor, q_kvar: Tensor) -> PowerFlow:
        """The power flow after a change of powers, to first order.

        Args:
            flow: A solution; no gradient flows into it. `[...]`
            p_kw: Change of active power of the terminals. `[..., terminal]`
            q_kvar: Change of reactive power. `[..., terminal]`

        Returns:
            Like a solution, differentiable in the changes; where `flow` did
            not converge its values mean nothing, and gradients are finite.
        """
        change = torch.cat((p_kw, q_kvar), dim=-1).flatten(0, -2).to(self.current.dtype)
        return dataclasses.replace(
            flow,
            u=torch.addmm(flow.u.detach().nan_to_num(0.0), change, self.voltage),
            j=torch.addmm(flow.j.detach().nan_to_num(0.0), change, self.current),
        )
