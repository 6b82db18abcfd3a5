"""The power flow: batched, differentiable, one call."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from gradmap.feeders.errors import raise_faults
from gradmap.feeders.powerflow import flows
from gradmap.feeders.powerflow.dense import DenseMaps
from gradmap.feeders.powerflow.fixed_point import fixed_point
from gradmap.feeders.powerflow.implicit import ImplicitPowerFlow
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.planar import magnitude, to_complex
from gradmap.feeders.powerflow.sparse import SparseMaps
from gradmap.feeders.powerflow.taps import TappedMaps
from gradmap.feeders.powerflow.taps_given import tapped_maps

_TOLERANCE_PU = {torch.complex64: 1e-6, torch.complex128: 1e-8}


@dataclasses.dataclass(frozen=True, eq=False)
class PowerFlow:
    """A solved batch of scenarios.

    `[...]` is the leading shape of the powers given. What is not stored is
    computed on first use, kept, and differentiable with respect to them. In a
    scenario that did not converge every value is NaN and every gradient 0.

    Attributes:
        network: The network solved.
        converged: Whether the scenario converged. `[...]`
        iterations: Iterations until the tolerance was first met; all that
            were made where it was not. `[...]`
        residual: Largest real or imaginary part by which the last iterate
            missed the power-flow equation, per unit voltage. `[...]`
        u: Port voltages, planar, `[batch, 2 port]`, p.u.; internal.
        j: Compensated port currents, planar, `[batch, 2 port]`; internal.
        tapped: The maps at each scenario's own taps, None if all are at the
            network's; internal.
    """

    network: Network
    converged: Tensor
    iterations: Tensor
    residual: Tensor
    u: Tensor
    j: Tensor
    tapped: TappedMaps | None = None

    @classmethod
    def stack(cls, flows: Sequence[PowerFlow], dim: int = 0) -> PowerFlow:
        """Joins power flows of one network along a new leading axis.

        What follows from them is then computed for all in one go.

        Args:
            flows: At least one solution, all of the same leading shape.
            dim: Where the new axis goes among the leading axes.

        Returns:
            One solution; gradients flow to each of `flows`.

        Raises:
            GradmapError: If there is none, or networks or shapes differ.
        """
        faults = [] if flows else ["found no solution, expected at least one"]
        if len({id(flow.network) for flow in flows}) > 1:
            faults.append("found different network objects, expected one")
        if len({flow.converged.shape for flow in flows}) > 1:
            faults.append("found different leading shapes, expected one")
        each = [flow.tapped for flow in flows if flow.tapped is not None]
        if each and len({maps.answer.shape for maps in each}) + len(flows) - len(each) > 1:
            faults.append("found some with taps or capacitors of their own and some without")
        raise_faults("stack of power flows", faults)
        first = flows[0]
        lead = first.converged.shape

        def joined(name: str) -> Tensor:
            parts = [getattr(flow, name) for flow in flows]
            if name not in ("u", "j"):
                return torch.stack(parts, dim)
            shaped = [part.reshape(*lead, part.shape[-1]) for part in parts]
            return torch.stack(shaped, dim).flatten(0, -2)

        names = ("converged", "iterations", "residual", "u", "j")
        stacked = cls(first.network, **{name: joined(name) for name in names})  # type: ignore[arg-type]
        if not each:
            return stacked
        return dataclasses.replace(stacked, tapped=type(each[0]).stack(each, lead, dim))

    @property
    def maps(self) -> DenseMaps | SparseMaps | TappedMaps:
        """From the port currents to all that is not stored."""
        return self.network.maps if self.tapped is None else self.tapped

    @functools.cached_property
    def taps(self) -> Tensor:
        """Tap position of every regulator, `[..., regulator]`, int64."""
        taps = torch.from_numpy(self.network.feeder.regulators.tap.copy())
        if self.tapped is None:
            return taps.to(self.u.device).expand(*self.converged.shape, -1)
        return self._shaped(self.tapped.taps)

    @functools.cached_property
    def capacitors(self) -> Tensor:
        """Whether each switched capacitor is on, `[..., capacitor]`, bool."""
        is_on = torch.from_numpy(self.network.feeder.controls.capacitors.is_on.copy())
        if self.tapped is None:
            return is_on.to(self.u.device).expand(*self.converged.shape, -1)
        return self._shaped(self.tapped.capacitors)

    def _shaped(self, flat: Tensor) -> Tensor:
        return flat.reshape(self.converged.shape + flat.shape[1:])

    @functools.cached_property
    def _image(self) -> Tensor:
        return self.maps.image(self.j)

    @functools.cached_property
    def _node(self) -> Tensor:
        return self.maps.node_voltage(self._image)

    @functools.cached_property
    def v_pu(self) -> Tensor:
        """Node voltages, `[..., node]`, complex, per unit of the node's base."""
        return self._shaped(to_complex(self._node))

    @functools.cached_property
    def v_magnitude_pu(self) -> Tensor:
        """Node voltage magnitudes, `[..., node]`, per unit of the node's base."""
        return self._shaped(self.maps.node_magnitude(self._image))

    @functools.cached_property
    def v_terminal_pu(self) -> Tensor:
        """Terminal voltages, `[..., terminal]`, complex, per unit of each one's rated voltage."""
        port = to_complex(self.u).index_select(1, self.network.terminal_port)
        return self._shaped(port * self.network.terminal_ratio)

    @functools.cached_property
    def v_terminal_magnitude_pu(self) -> Tensor:
        """Magnitude of `v_terminal_pu`, `[..., terminal]`; cheaper than its `abs`."""
        port = magnitude(self.u).index_select(1, self.network.terminal_port)
        return self._shaped(port * self.network.terminal_ratio)

    @functools.cached_property
    def port_current_a(self) -> Tensor:
        """Current drawn at each port, `[..., port]`, complex, A."""
        return self._shaped(flows.port_current_a(self.network, self.u, self.j))

    @functools.cached_property
    def branch_current_a(self) -> Tensor:
        """Current into each branch's first terminal, `[..., conductor]`, complex, A."""
        return self._shaped(to_complex(self.maps.conductor_current(self._image)))

    @functools.cached_property
    def branch_loading(self) -> Tensor:
        """Largest conductor current over rating, `[..., branch]`."""
        current_a = self.maps.conductor_magnitude(self._image)
        return self._shaped(flows.branch_loading(self.network, current_a))

    @functools.cached_property
    def losses_kw(self) -> Tensor:
        """Losses of all lines, switches and transformers, `[...]`, kW."""
        return self._shaped(self.maps.losses_kw(self._image))

    @functools.cached_property
    def _source(self) -> tuple[Tensor, Tensor]:
        return flows.source_power(self.maps.source_state(self._image))

    @property
    def source_kw(self) -> Tensor:
        """Active power out of the source at its bus, `[...]`, kW."""
        return self._shaped(self._source[0])

    @property
    def source_kvar(self) -> Tensor:
        """Reactive power out of the source at its bus, `[...]`, kvar."""
        return self._shaped(self._source[1])

    @functools.cached_property
    def unbalance_pct(self) -> Tensor:
        """Negative- over positive-sequence voltage, percent, `[..., three-phase bus]`.

        The buses are in the order of `network.three_phase_node`.
        """
        return self._shaped(flows.unbalance_pct(self.network, self._node))


def solve_power_flow(
    network: Network,
    p_kw: Tensor,
    q_kvar: Tensor,
    *,
    tolerance_pu: float | None = None,
    max_iterations: int = 100,
    guess: PowerFlow | None = None,
    taps: Tensor | None = None,
    capacitors: Tensor | None = None,
) -> PowerFlow:
    """Solves the power flow of a batch of scenarios.

    Differentiable with respect to both powers, by the implicit function
    theorem. Asking for gradients never changes a value.

    Args:
        network: The network.
        p_kw: Active power drawn at each terminal at its rated voltage,
            `[..., terminal]`, real, kW; negative for generation. It is cast
            to the network's precision, as is its gradient back.
        q_kvar: Reactive power drawn, same shape, kvar.
        tolerance_pu: Largest change of a real or imaginary part of a port
            voltage in the last iteration, p.u. `None` is 1e-8 for a
            complex128 network and 1e-6 for a complex64 one.
        max_iterations: Limit on iterations.
        guess: A solution of the same network and leading shape to start from,
            such as that of the time step before; scenarios in which it did
            not converge start from the nominal voltages. No gradient flows
            into it.
        taps: Tap position of every regulator of the feeder in each scenario,
            whole numbers, `[..., regulator]`, or `[regulator]` for all alike;
            `None` for those of the feeder. Gradients take them as given.
        capacitors: Whether each of `feeder.controls.capacitors` is on,
            `[..., capacitor]`, bool, or `[capacitor]`; `None` likewise.

    Returns:
        The solution; a scenario without one is flagged in `converged`.

    Raises:
        GradmapError: If a shape, dtype, device or option does not fit, a tap
            is out of range, or the network cannot take taps of their own.
    """
    tolerance = _TOLERANCE_PU[network.dtype] if tolerance_pu is None else tolerance_pu
    _check(network, p_kw, q_kvar, tolerance, max_iterations, guess)
    lead = p_kw.shape[:-1]
    p, q = (x.to(network.real_dtype).reshape(-1, network.num_terminals) for x in (p_kw, q_kvar))
    tapped = tapped_maps(network, lead, taps, capacitors)
    start = None
    if guess is not None:
        start = torch.where(guess.converged.reshape(-1, 1), guess.u.detach(), network.start)
    if torch.is_grad_enabled() and (p.requires_grad or q.requires_grad):
        u, j, converged, iterations, residual = ImplicitPowerFlow.apply(  # type: ignore[no-untyped-call]
            p, q, network, start, tolerance, max_iterations, tapped
        )
    else:
        solved = fixed_point(network, p, q, start, tolerance, max_iterations, tapped)
        u, j, converged = solved.u, solved.j, solved.converged
        iterations, residual = solved.iterations, solved.residual
    return PowerFlow(
        network=network,
        converged=converged.reshape(lead),
        iterations=iterations.reshape(lead),
        residual=residual.reshape(lead),
        u=u,
        j=j,
        tapped=tapped,
    )


def _check(
    network: Network,
    p_kw: Tensor,
    q_kvar: Tensor,
    tolerance_pu: float,
    max_iterations: int,
    guess: PowerFlow | None,
) -> None:
    faults = []
    if not p_kw.numel():
        faults.append(f"p_kw is empty, {tuple(p_kw.shape)}, expected at least one scenario")
    expected = network.num_terminals
    for name, power in (("p_kw", p_kw), ("q_kvar", q_kvar)):
        if power.ndim == 0 or power.shape[-1] != expected:
            faults.append(
                f"{name} has shape {tuple(power.shape)}, expected [..., {expected}], one value "
                "for each terminal of the network"
            )
        if not power.is_floating_point():
            faults.append(f"{name} has dtype {power.dtype}, expected a real floating dtype")
        if power.device != network.device:
            faults.append(f"{name} is on {power.device}, the network on {network.device}")
    if p_kw.shape != q_kvar.shape:
        faults.append(f"p_kw is {tuple(p_kw.shape)} and q_kvar {tuple(q_kvar.shape)}")
    if not tolerance_pu > 0:
        faults.append(f"tolerance_pu is {tolerance_pu}, expected a positive number")
    if max_iterations < 1:
        faults.append(f"max_iterations is {max_iterations}, expected at least 1")
    if guess is not None:
        if guess.network is not network:
            faults.append("guess was solved on another network object")
        elif guess.converged.shape != p_kw.shape[:-1]:
            faults.append(
                f"guess has leading shape {tuple(guess.converged.shape)}, "
                f"expected {tuple(p_kw.shape[:-1])}"
            )
    raise_faults("power flow", faults)
