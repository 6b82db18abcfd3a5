"""Replays in OpenDSS what the agents drew under a policy, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradmap.envs.core import Core
from gradmap.experiments.metrics import FloatArray, Physics
from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.model import Branches

if TYPE_CHECKING:
    from gradmap.experiments.evaluate import Played


def replay(core: Core, played: Played) -> Physics:
    """Solves every step in OpenDSS, at the taps that the torch power flow had.

    Args:
        core: The environment that ran the days.
        played: The days.

    Returns:
        The network by OpenDSS; NaN where it did not converge.
    """
    p_kw, q_kvar = terminal_powers(core, played)
    num_days, num_steps = p_kw.shape[:2]
    feeder = core.feeder
    lead = (num_days, num_steps)
    v_pu = np.full((*lead, feeder.num_nodes), np.nan, np.complex128)
    loading = np.full((*lead, len(feeder.branches)), np.nan)
    losses, source = np.full(lead, np.nan), np.full(lead, np.nan)
    converged = np.zeros(lead, bool)
    engine = OpenDSSReplay(feeder)
    for at in np.ndindex(lead):
        if played.taps is not None and played.capacitors is not None:
            engine.move(played.taps[at], played.capacitors[at])
        solved = engine.solve(p_kw[at], q_kvar[at])
        converged[at] = solved.converged
        if solved.converged:
            v_pu[at] = solved.v_pu
            loading[at] = branch_loading(solved.branch_current_a, feeder.branches)
            losses[at], source[at] = solved.losses_kw, solved.source_kw
    return Physics(v_pu, loading, losses, source, converged)


def terminal_powers(core: Core, played: Played) -> tuple[FloatArray, FloatArray]:
    """Power at every terminal: base loads, then devices with the sun taken off.

    Args:
        core: The environment that ran the days.
        played: The days.

    Returns:
        kW and kvar, `[day, time, terminal]`, load terminals then device
        terminals, as the core put them to the power flow.
    """
    days, scenarios = played.days, core.scenarios
    base_p = scenarios.base_p_kw[days].astype(np.float64)
    base_q = scenarios.base_q_kvar[days].astype(np.float64)
    at_terminal = core.agent_terminal.cpu().numpy()
    sites = np.zeros((core.num_agents, base_p.shape[-1]))
    sites[np.arange(core.num_agents), at_terminal] = 1.0
    device_p = played.p_kw @ sites - scenarios.pv_kw[days]
    device_q = played.q_kvar @ sites
    return np.concatenate((base_p, device_p), -1), np.concatenate((base_q, device_q), -1)


def branch_loading(current_a: np.ndarray, branches: Branches) -> FloatArray:
    """Largest conductor current of each branch over its rating.

    Args:
        current_a: Complex current of each conductor. `[conductor]`
        branches: The branches.

    Returns:
        Loading. `[branch]`
    """
    largest = np.zeros(len(branches))
    np.maximum.at(largest, branches.conductor_branch, np.abs(current_a))
    return largest / branches.rating_a
