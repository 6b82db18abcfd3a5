"""Gradients through two environment steps: implicit, unrolled, by differences.

The core's devices are float32, which leaves a difference quotient 3 digits.
Under a default dtype of float64 the same code runs in double precision, and
all routes must agree to what the solver's tolerance allows.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import scipy.sparse.linalg as spl
import torch
from torch import Tensor

from gradmap.envs.observations import FEATURES
from gradmap.feeders.model import GROUND, LoadModel
from gradmap.feeders.powerflow.solve import solve_power_flow


@pytest.fixture
def double():
    """Runs a test in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def six(make_core):
    """Three batteries, two heat pumps and a generator: 1.2 MW at six places."""
    core = make_core(6, steps=2)
    assert set(core.agent_kinds) == {"battery", "heat_pump", "generator"}
    return core


@dataclasses.dataclass(frozen=True)
class Unrolled:
    """What the core needs of a power flow, with the whole iteration on the tape."""

    v_terminal_magnitude_pu: Tensor
    v_magnitude_pu: Tensor
    converged: Tensor


class UnrolledSolver:
    """A second power flow, written for the test from the feeder alone: complex, in volt."""

    def __init__(self, feeder):
        terminals = feeder.terminals
        num = len(terminals)
        rows = np.zeros((num, feeder.num_nodes))
        rows[np.arange(num), terminals.node_from] = 1.0
        to_node = terminals.node_to != GROUND
        rows[np.flatnonzero(to_node), terminals.node_to[to_node]] = -1.0
        lu = spl.splu(feeder.y_siemens.tocsc())
        to_nodes = lu.solve(rows.T.astype(complex))  # no loads: V = V0 - this times I
        self.v_open = torch.tensor(lu.solve(feeder.source_current_a))
        self.to_nodes = torch.tensor(to_nodes)
        self.rows = torch.tensor(np.concatenate([rows, rows])).to(torch.complex128)
        rated_v = 1e3 * np.tile(terminals.kv_rated, 2)
        self.rated_v = torch.tensor(rated_v)
        self.base_v = torch.tensor(1e3 * feeder.node_kv_base)
        power, device = LoadModel.CONSTANT_POWER, np.ones(num)
        exponent = {power: -2.0, LoadModel.CONSTANT_CURRENT: -1.0}
        models = [exponent.get(m, 0.0) for m in terminals.model.tolist()]
        self.exponent = torch.tensor(models + [-2.0] * num)
        self.vmin = torch.tensor(np.concatenate([terminals.vmin_pu, 0.8 * device]))
        self.vmax = torch.tensor(np.concatenate([terminals.vmax_pu, 1.2 * device]))
        self.vlow = torch.tensor(np.concatenate([terminals.vlow_pu, 0.5 * device]))

    def current(self, v: Tensor, power_va: Tensor) -> Tensor:
        u = v.abs() / self.rated_v
        at_vmin = self.vmin ** (self.exponent + 1.0)
        slope = (at_vmin - self.vlow) / (self.vmin - self.vlow)
        line = (self.vlow + slope * (u - self.vlow)) / u
        inside = torch.minimum(u, self.vmax) ** self.exponent
        gain = torch.where((u < self.vmin) & (self.exponent < 0.0), line, inside)
        return power_va.conj() * gain * v / self.rated_v**2

    def __call__(self, network, p_kw: Tensor, q_kvar: Tensor) -> Unrolled:
        power_va = 1e3 * torch.complex(p_kw.double(), q_kvar.double())
        # Loads and the devices beside them enter at the same nodes.
        into = self.to_nodes.mT
        nodes = self.v_open.expand(*p_kw.shape[:-1], -1)
        for _ in range(40):
            current = self.current(nodes @ self.rows.mT, power_va)
            at_pair = current[..., : len(into)] + current[..., len(into) :]
            nodes = self.v_open - at_pair @ into
        return Unrolled(
            (nodes @ self.rows.mT).abs() / self.rated_v,
            nodes.abs() / self.base_v,
            torch.ones(p_kw.shape[:-1], dtype=torch.bool),
        )


@pytest.fixture
def tight(monkeypatch):
    """Solves the power flow, and its adjoint, to rounding instead of 1e-8 p.u."""
    solver = functools.partial(solve_power_flow, tolerance_pu=1e-12)
    monkeypatch.setattr("gradmap.envs.core.solve_power_flow", solver)


@pytest.fixture
def unrolled(monkeypatch, task_feeder):
    """Puts the unrolled solver in the place of the implicit one."""

    def switch():
        monkeypatch.setattr("gradmap.envs.core.solve_power_flow", UnrolledSolver(task_feeder))

    return switch


def two_steps(core, actions: Tensor, policy=None) -> Tensor:
    """Cost and voltages of two steps, joined by fixed random weights into one number."""
    weights = torch.Generator().manual_seed(9)
    state, total = core.reset(core.days("train")[:2]), torch.zeros(())
    for action in actions:
        if policy is not None:
            action = action + policy(core.observe(state))
        state, outcome = core.step(state, action)
        v = outcome.flow.v_magnitude_pu
        mix = torch.randn(v.shape[-1], generator=weights, dtype=torch.float64)
        total = total + outcome.cost_usd.sum() + (100.0 * v * mix).sum()
    return total


def some_actions(core) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    shape = (2, 2, core.num_agents)
    return 1.6 * torch.rand(shape, generator=generator, dtype=torch.float64) - 0.8


def gradient_of(function, at: Tensor) -> Tensor:
    actions = at.clone().requires_grad_()
    return torch.autograd.grad(function(actions), actions)[0]


@pytest.mark.usefixtures("double", "tight")
def test_the_gradient_is_that_of_the_unrolled_iteration(six, unrolled):
    actions = some_actions(six)
    own = two_steps(six, actions).item()
    implicit = gradient_of(lambda a: two_steps(six, a), actions)
    unrolled()
    # The same number, or gradients that agree would prove nothing. The plain
    # factorisation of Y, of condition 1e13, leaves 1e-9 p.u.
    assert two_steps(six, actions).item() == pytest.approx(own, rel=2e-9)
    taped = gradient_of(lambda a: two_steps(six, a), actions)
    assert (taped.abs() > 0.1).double().mean() > 0.9
    torch.testing.assert_close(implicit, taped, rtol=1e-8, atol=1e-8 * taped.abs().max().item())


@pytest.mark.usefixtures("double")
def test_the_default_tolerance_costs_the_gradient_little(six, unrolled):
    actions = some_actions(six)
    implicit = gradient_of(lambda a: two_steps(six, a), actions)
    unrolled()
    taped = gradient_of(lambda a: two_steps(six, a), actions)
    # The adjoint stops at 1e-8 of the largest cotangent; one kW moves the sum by
    # some 1e-3 of that.
    torch.testing.assert_close(implicit, taped, rtol=0.0, atol=1e-5 * taped.abs().max().item())


@pytest.mark.usefixtures("double", "tight")
def test_the_gradient_is_the_difference_quotient(six):
    actions = some_actions(six)
    slope = gradient_of(lambda a: two_steps(six, a), actions)
    # Rounding is 1e-12 of some 1e3 over the step; the curvature's error goes
    # with the square of the step.
    step = 1e-4
    for place in np.ndindex(*actions.shape):
        ends = []
        for sign in (1.0, -1.0):
            moved = actions.clone()
            moved[place] += sign * step
            ends.append(two_steps(six, moved).item())
        quotient = (ends[0] - ends[1]) / (2.0 * step)
        assert slope[place].item() == pytest.approx(quotient, rel=1e-6, abs=1e-5), place


@pytest.mark.usefixtures("double", "tight")
def test_the_closed_loop_gradient_runs_through_the_observed_voltage(six, unrolled):
    """A policy that sees the voltage makes step two depend on step one, through the network."""
    weight = torch.zeros(six.num_features)
    weight[FEATURES.index("own_voltage")] = 0.5

    def policy(observation: Tensor) -> Tensor:
        return 0.3 * torch.tanh(observation @ weight.to(observation.dtype))

    actions = some_actions(six)
    slope = gradient_of(lambda a: two_steps(six, a, policy), actions)
    without = gradient_of(lambda a: two_steps(six, a, lambda o: policy(o).detach()), actions)
    effect = (slope - without).abs()
    assert effect[0].max() > 1e-2
    assert effect[1].max() < 1e-9
    unrolled()
    taped = gradient_of(lambda a: two_steps(six, a, policy), actions)
    # The observed voltage is float32: where the two solvers' round apart, by 6e-8,
    # an action of step two differs by 2e-7.
    torch.testing.assert_close(slope, taped, rtol=1e-5, atol=1e-6 * taped.abs().max().item())
    assert effect[0].max() > 100 * (slope - taped).abs().max()


def test_float32_devices_give_the_same_gradient(six):
    actions = some_actions(six)
    torch.set_default_dtype(torch.float64)
    try:
        fine = gradient_of(lambda a: two_steps(six, a), actions)
    finally:
        torch.set_default_dtype(torch.float32)
    coarse = gradient_of(lambda a: two_steps(six, a), actions.float())
    assert coarse.dtype == torch.float32
    largest = fine.abs().max().item()
    torch.testing.assert_close(coarse.double(), fine, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.usefixtures("double")
def test_an_action_moves_later_steps_through_the_device_state(six):
    """A battery that charged earlier has less room: the second step's bill feels the first."""

    def last_bill(actions: Tensor) -> Tensor:
        state = six.reset(six.days("train")[:2])
        state, _ = six.step(state, actions[0])
        return six.step(state, actions[1])[1].cost_usd.sum()

    slope = gradient_of(last_bill, some_actions(six))[0]
    is_storing = torch.tensor([kind != "generator" for kind in six.agent_kinds])
    assert (slope[:, is_storing].abs() > 1e-3).all()
