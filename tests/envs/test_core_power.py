"""Where the power goes: what the source delivers, the terminals draw and the wires lose."""

from __future__ import annotations

import torch

from gradmap.feeders.model import LoadModel
from gradmap.feeders.powerflow.solve import solve_power_flow


def run_some(core):
    days = core.days("train")
    generator = torch.Generator().manual_seed(0)
    shape = (len(days), core.num_steps, core.num_agents)
    outcome = core.run_open_loop(days, 2.0 * torch.rand(shape, generator=generator) - 1.0)
    return days.numpy(), outcome


def gain(u, law):
    """OpenDSS's load law: current over nominal impedance current, thresholds included."""
    model, vmin, vmax, vlow = law
    exponent = {LoadModel.CONSTANT_POWER: -2.0, LoadModel.CONSTANT_CURRENT: -1.0}.get(model, 0.0)
    if exponent == 0.0:
        return torch.ones_like(u)
    at_vmin = vmin ** (exponent + 1.0)  # current at vmin, over nominal
    line = (vlow + (at_vmin - vlow) * (u - vlow) / (vmin - vlow)) / u
    held = u.clamp_max(vmax) ** exponent
    return torch.where(u >= vmin, held, torch.where(u > vlow, line, 1.0))


def base_load_kw(core, days, flow):
    """What the base load draws at the voltages found. `[day, time]`"""
    terminals = core.feeder.terminals
    laws = zip(
        terminals.model, terminals.vmin_pu, terminals.vmax_pu, terminals.vlow_pu, strict=True
    )
    nominal = torch.tensor(core.scenarios.base_p_kw[days], dtype=torch.float64)
    drawn = torch.zeros(nominal.shape[:-1], dtype=torch.float64)
    for k, law in enumerate(laws):
        u = flow.v_terminal_pu[..., k].abs()
        drawn += nominal[..., k] * u**2 * gain(u, law)
    return drawn


def test_the_source_feeds_loads_devices_and_losses_less_the_sun(core):
    days, outcome = run_some(core)
    flow = outcome.flow
    drawn = base_load_kw(core, days, flow)
    devices = outcome.p_kw.double().sum(-1)
    sun = torch.tensor(core.scenarios.pv_kw[days], dtype=torch.float64).sum(-1)
    balance = flow.source_kw - (drawn + devices - sun + flow.losses_kw)
    # Twenty agents are 600 kW at one pair of nodes each: where that pulls the
    # voltage out of 0.8 to 1.2 p.u., the network's law no longer draws it all.
    u = flow.v_terminal_pu[..., len(core.feeder.terminals) :].abs()[..., core.agent_terminal]
    is_in_range = ((u > 0.8) & (u < 1.2)).all(-1)
    assert is_in_range.double().mean() > 0.9
    # The solver's 1e-8 p.u. moves megawatts by 1e-4 kW; a terminal's power,
    # a float32 sum of hundreds of kW, is rounded at 1e-5 of them.
    assert balance[is_in_range].abs().max() < 1e-3
    assert devices.abs().max() > 100.0
    assert sun.max() > 100.0


def test_the_network_is_solved_with_every_power_at_its_terminal(core):
    """Base load, sun and agents summed by hand, active and reactive, give the same voltages."""
    days, outcome = run_some(core)
    scenarios, num = core.scenarios, len(core.feeder.terminals)
    p_kw = torch.zeros(*outcome.p_kw.shape[:2], 2 * num, dtype=torch.float64)
    q_kvar = torch.zeros_like(p_kw)
    p_kw[..., :num] = torch.tensor(scenarios.base_p_kw[days])
    q_kvar[..., :num] = torch.tensor(scenarios.base_q_kvar[days])
    p_kw[..., num:] = -torch.tensor(scenarios.pv_kw[days])
    for agent, terminal in enumerate(core.agent_terminal.tolist()):
        p_kw[..., num + terminal] += outcome.p_kw[..., agent]
        q_kvar[..., num + terminal] += outcome.q_kvar[..., agent]
    assert (outcome.q_kvar > 10.0).any()
    flow = solve_power_flow(core.network, p_kw, q_kvar)
    # A float32 sum of powers is off by 1e-5 kW or so; both solve to 1e-8 p.u.
    torch.testing.assert_close(
        outcome.flow.v_magnitude_pu, flow.v_magnitude_pu, rtol=0.0, atol=1e-7
    )


def test_the_source_feeds_the_ports_and_the_losses(core):
    _, outcome = run_some(core)
    flow, network = outcome.flow, core.network
    first = {int(port): k for k, port in reversed(list(enumerate(network.terminal_port.tolist())))}
    terminals = torch.tensor([first[port] for port in range(network.num_ports)])
    kv_rated = torch.tensor(core.feeder.terminals.kv_rated).repeat(2)
    volt_kv = flow.v_terminal_pu[..., terminals] * kv_rated[terminals]
    drawn = (volt_kv * flow.port_current_a.conj()).real.sum(-1)
    balance = flow.source_kw - drawn - flow.losses_kw
    assert balance.abs().max() < 1e-3  # kW of thousands: the solver's 1e-8
