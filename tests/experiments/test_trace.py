"""The few agents whose days are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradmap.envs.catalog import make
from gradmap.envs.core import Core
from gradmap.experiments.evaluate import Played, pick_days, play
from gradmap.experiments.trace import RANKS, STATE_UNITS, Arrays, choose_agents, trace


class SteadyPolicy:
    """Every device at the same share of its range."""

    def reset(self, days: torch.Tensor) -> None:
        pass

    def act(self, observation: torch.Tensor) -> torch.Tensor:
        return torch.full(observation.shape[:2], 0.3)


@pytest.fixture(scope="module")
def core() -> Core:
    return make("ieee123-mixed-v1", num_agents=20)


@pytest.fixture(scope="module")
def played(core: Core) -> Played:
    return play(core, SteadyPolicy(), pick_days(core, "test", 2))


@pytest.fixture(scope="module")
def kept(core: Core, played: Played) -> Arrays:
    return trace(core, played)


def test_two_agents_of_each_kind_are_kept(core: Core) -> None:
    chosen = choose_agents(core)
    kinds = [core.agent_kinds[i] for i in chosen.agent]
    assert set(kinds) <= set(STATE_UNITS)
    assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys(core.agent_kinds, 2)
    assert chosen.rank == RANKS * 3
    assert np.array_equal(chosen.agent, choose_agents(core).agent)


def test_an_only_agent_of_its_kind_is_kept_once() -> None:
    core = make("ieee123-mixed-v1", num_agents=4)
    assert len(choose_agents(core).agent) < 6
    assert {core.agent_kinds[i] for i in choose_agents(core).agent} == set(core.agent_kinds)


def test_every_array_is_of_the_days_and_agents(core: Core, kept: Arrays) -> None:
    lead = (2, core.num_steps)
    for name in ("state", "action", "p_kw", "v_pu", "base_kw", "pv_kw"):
        assert kept[f"trace_{name}"].shape == (*lead, 6), name
        assert kept[f"trace_{name}"].dtype == np.float32, name
        assert np.isfinite(kept[f"trace_{name}"]).all(), name
    assert kept["trace_tariff_usd_per_kwh"].shape == lead
    assert kept["trace_temp_outdoor_degc"].shape == lead


def test_states_are_in_their_units(core: Core, kept: Arrays) -> None:
    at = {kind: list(kept["trace_kind"]).index(kind) for kind in set(core.agent_kinds)}
    charge = kept["trace_state"][..., at["battery"]]
    assert charge.min() >= 0.0
    assert charge.max() <= 100.0
    # The state is that before the step: full after charging for hours.
    assert charge[:, -1] == pytest.approx(100.0, abs=0.1)
    assert 15.0 < kept["trace_state"][:, 0, at["heat_pump"]].min() < 25.0
    low, high = kept["trace_comfort_degc"][at["heat_pump"]]
    assert high == pytest.approx(low + 3.0)
    before = kept["trace_state"][:, 1:, at["generator"]]
    output = -kept["trace_p_kw"][:, :-1, at["generator"]]
    assert before == pytest.approx(output, rel=1e-4, abs=1e-3)


def test_voltages_are_the_power_flow_s(core: Core, played: Played, kept: Arrays) -> None:
    from gradmap.algorithms.rollout import rollout

    days = torch.tensor(played.days)
    with torch.no_grad():
        flow = rollout(core, SteadyPolicy(), days).outcome.flow
    terminal = core.agent_terminal[choose_agents(core).agent]
    expected = flow.v_terminal_magnitude_pu[..., terminal].numpy()
    assert kept["trace_v_pu"] == pytest.approx(expected, abs=1e-6)
