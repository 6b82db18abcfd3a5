"""Devices gathered by zone: sums are kept, and every terminal may be its own."""

from __future__ import annotations

import pytest
import torch

from gradmap.baselines.dispatch import Groups
from gradmap.baselines.zones import Zones


@pytest.fixture(scope="module")
def slopes(core):
    noise = torch.Generator().manual_seed(0)
    return torch.rand(9, len(Groups.of(core).terminal), generator=noise, dtype=torch.float64)


@pytest.mark.parametrize("num", [0, 1, 4])
def test_power_energy_and_heat_capacity_are_kept(core, slopes, num):
    zones = Zones(core, slopes, num)
    for fleet, units in zip(core.fleets, zones.fleets, strict=True):
        assert units.p_max_kw.sum().item() == pytest.approx(fleet.p_max_kw.sum().item(), rel=1e-5)
        if num:
            assert units.num_devices <= num
    assert zones.num_units == sum(units.num_devices for units in zones.fleets)
    batteries, pumps, _ = zones.fleets
    assert batteries.energy_max_kwh.sum() == pytest.approx(
        core.fleets[0].energy_max_kwh.sum().item(), rel=1e-5
    )
    assert pumps.loss_kw_per_k.sum() == pytest.approx(
        core.fleets[1].loss_kw_per_k.sum().item(), rel=1e-5
    )


def test_states_are_gathered(core, slopes):
    zones = Zones(core, slopes, 4)
    devices = core.reset(core.days("train")[:2]).devices
    units = zones.states(devices)
    for place in (0, 2):  # energy and output
        assert torch.allclose(units[place].sum(1), devices[place].sum(1), rtol=1e-5)
    weight = core.fleets[1].loss_kw_per_k
    mean = (devices[1][..., 0] * weight).sum(1) / weight.sum()
    by_unit = zones.fleets[1].loss_kw_per_k
    assert torch.allclose((units[1][..., 0] * by_unit).sum(1) / by_unit.sum(), mean, rtol=1e-4)


def test_agents_share_their_units_power(core, slopes):
    zones = Zones(core, slopes, 3)
    unit_kw = torch.rand(2, 5, zones.num_units, dtype=torch.float64)
    agent_kw = zones.agent_kw(unit_kw)
    assert agent_kw.shape == (2, 5, core.num_agents)
    assert torch.allclose(zones.unit_kw(agent_kw), unit_kw, rtol=1e-5)
    own = unit_kw.split([units.num_devices for units in zones.fleets], -1)
    done = agent_kw.split([fleet.num_devices for fleet in core.fleets], -1)
    for units_kw, devices_kw in zip(own, done, strict=True):
        assert torch.allclose(units_kw.sum(-1), devices_kw.sum(-1), rtol=1e-5)


def test_with_every_terminal_a_zone_shares_are_whole(core, slopes):
    zones = Zones(core, slopes, 0)
    groups = Groups.of(core)
    unit_kw = torch.rand(2, zones.num_units, dtype=torch.float64)
    by_group = groups.total(zones.agent_kw(unit_kw))
    assert torch.allclose(zones.by_zone(unit_kw) @ zones.share.T, by_group, atol=1e-5)


def test_what_units_draw_their_devices_draw(core, slopes):
    zones = Zones(core, slopes, 3)
    states = core.reset(core.days("train")[:2]).devices
    share = torch.cat([0.3 * units.p_max_kw for units in zones.fleets[:2]])
    unit_kw = torch.cat((share, -0.2 * zones.fleets[2].p_max_kw)).expand(2, -1)
    action, p_kw = zones.actions(unit_kw, states, torch.tensor([5.0, -3.0]))
    assert action.shape == p_kw.shape == (2, core.num_agents)
    # Outputs may be held by their ramps; batteries and heat pumps are free.
    num = zones.fleets[0].num_devices + zones.fleets[1].num_devices
    free = len(core.fleets[0].p_max_kw) + len(core.fleets[1].p_max_kw)
    assert torch.allclose(p_kw[:, :free].sum(-1), unit_kw[:, :num].sum(-1), rtol=1e-3)
