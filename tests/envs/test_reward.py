"""The scalar reward: minus the own cost, minus a stated share of the violation."""

from __future__ import annotations

import types

import pytest
import torch

from gradmap.envs.constraints import Violations
from gradmap.envs.outcome import COST_TERMS
from gradmap.envs.reward import REWARD_TERMS, RewardConfig, reward_terms


@pytest.fixture
def found():
    """0.02 p.u. over and 0.01 under in the first scenario, an overload in the second."""
    over = torch.tensor([[0.02, 0.0], [0.0, 0.0]], dtype=torch.float64)
    under = torch.tensor([[0.0, 0.01], [0.0, 0.0]], dtype=torch.float64)
    overload = torch.tensor([[0.0], [0.5]], dtype=torch.float64)
    return Violations(over, under, overload)


def outcome(usable=(True, True), num_agents=4):
    shape = (2, num_agents)
    cost = torch.arange(2.0 * num_agents * len(COST_TERMS)).reshape(*shape, len(COST_TERMS))
    return types.SimpleNamespace(
        cost_usd=cost, p_kw=torch.zeros(shape), is_usable=torch.tensor(usable)
    )


def test_terms_are_minus_the_costs_and_the_network(found):
    terms = reward_terms(outcome(), found, RewardConfig())
    assert (*COST_TERMS, "network") == REWARD_TERMS
    assert terms.shape == (2, 4, len(REWARD_TERMS))
    assert terms.dtype == torch.float32
    assert torch.equal(terms[..., :-1], -outcome().cost_usd)
    assert terms[0, :, -1].tolist() == pytest.approx([-1000.0 * 0.03 / 4] * 4)
    assert terms[1, :, -1].tolist() == pytest.approx([-10.0 * 0.5 / 4] * 4)


@pytest.mark.parametrize(("share", "paid"), [(None, 0.25), (1.0, 1.0), (0.0, 0.0)])
def test_the_share_of_the_violation_is_configured(found, share, paid):
    config = RewardConfig(voltage_usd_per_pu=200.0, overload_usd=6.0, share=share)
    network = reward_terms(outcome(), found, config)[..., -1]
    assert network[0].tolist() == pytest.approx([-200.0 * 0.03 * paid] * 4)
    assert network[1].tolist() == pytest.approx([-3.0 * paid] * 4)


def test_together_the_agents_pay_the_violation_once(found):
    for num_agents in (1, 7, 100):
        network = reward_terms(outcome(num_agents=num_agents), found, RewardConfig())[..., -1]
        assert network[0].sum().item() == pytest.approx(-30.0, rel=1e-5)


def test_a_step_without_a_solution_prices_no_violation(found):
    found.over_pu[0] = torch.nan
    terms = reward_terms(outcome(usable=(False, True)), found, RewardConfig())
    assert (terms[0, :, -1] == 0.0).all()
    assert terms.isfinite().all()
    assert (terms[1, :, -1] < 0.0).all()


def test_inside_the_limits_the_reward_is_the_own_cost(found):
    calm = Violations(*(torch.zeros_like(value) for value in vars(found).values()))
    terms = reward_terms(outcome(), calm, RewardConfig())
    assert torch.equal(terms.sum(-1), -outcome().cost_usd.sum(-1))
