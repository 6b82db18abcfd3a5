"""Reading the observations of all agents: exact, and blank where nobody looks."""

from __future__ import annotations

import torch

from gradmap.baselines.reading import Reader, device_states


def some_steps(core, num):
    """States of a batch of days under random actions."""
    noise = torch.Generator().manual_seed(1)
    state = core.reset(core.days("train"))
    for _ in range(num):
        yield state
        state, _ = core.step(state, 2 * torch.rand(4, core.num_agents, generator=noise) - 1)


def test_device_states_are_read_exactly(core):
    reader, midnight = Reader(core), None
    for state in some_steps(core, 5):
        reading = reader.read(core.observe(state))
        midnight = midnight or reading.quantity
        read = device_states(core.fleets, reading.quantity, midnight)
        for found, true in zip(read, state.devices, strict=True):
            assert found.shape == true.shape
            assert torch.allclose(found, true, rtol=1e-5, atol=1e-4)


def test_sites_and_voltages_are_read_where_there_are_agents(core):
    reader, days = Reader(core), core.days("train")
    has_agent = torch.zeros(core.network.num_load_terminals, dtype=torch.bool)
    has_agent[core.agent_terminal] = True
    assert not has_agent.all()
    scenarios = core.scenarios
    for state in some_steps(core, 3):
        reading = reader.read(core.observe(state))
        load = torch.tensor(scenarios.base_p_kw[days, state.step])
        sun = torch.tensor(scenarios.pv_kw[days, state.step])
        for found, true in (
            (reading.base_p_kw, load),
            (reading.pv_kw, sun),
            (reading.v_pu, state.v_measured_pu),
        ):
            assert torch.allclose(found[:, has_agent], true[:, has_agent], rtol=1e-4, atol=1e-5)
            assert found[:, ~has_agent].isnan().all()
        temp = torch.tensor(scenarios.temp_outdoor_degc[days, state.step])
        assert torch.allclose(reading.temp_outdoor_degc, temp, atol=1e-4)
