"""Control and reference where reactive power is a free choice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradmap.algorithms.rollout import rollout
from gradmap.baselines.droop import DroopPolicy
from gradmap.baselines.droop_curves import CATEGORY_B
from gradmap.baselines.foresight import OpenLoopPolicy, PerfectForesight
from gradmap.baselines.foresight_config import ForesightConfig
from gradmap.baselines.idle import IdlePolicy
from gradmap.baselines.receding import RecedingHorizon
from gradmap.baselines.rules import RulesPolicy
from gradmap.envs.config import AgentMix
from gradmap.envs.observations import FEATURES, VOLTAGE_SCALE
from gradmap.experiments.evaluate import play
from gradmap.experiments.offline import OfflinePolicy
from gradmap.experiments.trace import trace
from gradmap.feeders.errors import GradmapError

MIX = AgentMix(4, 4, 2, 4, 6)


@pytest.fixture(scope="module")
def free(make_core):
    return make_core(20, mix=MIX, reactive="free")


@pytest.fixture(scope="module")
def by_rule(make_core):
    return make_core(20, mix=MIX)


@pytest.mark.parametrize("policy", [IdlePolicy, RulesPolicy])
def test_idle_and_rules_leave_it_alone(free, by_rule, policy):
    days = free.days("train")[:2]
    done, before = (rollout(core, policy(core), days) for core in (free, by_rule))
    assert not done.action[..., 1].any()
    assert torch.equal(done.action[..., 0], before.action)
    assert torch.equal(done.outcome.q_kvar, before.outcome.q_kvar)


def test_droop_follows_the_volt_var_curve(free):
    days = free.days("train")[:2]
    done = rollout(free, DroopPolicy(free), days)
    rise = VOLTAGE_SCALE * done.observation[..., FEATURES.index("own_voltage")]
    wanted = CATEGORY_B.reactive(1.0 + rise) * free.inverters.kva
    inverters = slice(14, 20)  # always follow their setpoint
    found = done.outcome.q_kvar
    torch.testing.assert_close(found[..., inverters], wanted[..., inverters], rtol=1e-4, atol=1e-3)
    assert found[..., inverters].abs().max() > 1.0
    # A battery that cannot follow has more room than its setpoint leaves.
    batteries = slice(0, 4)
    assert (found[..., batteries].abs() >= 0.999 * wanted[..., batteries].abs()).all()
    assert (found[..., batteries].abs() <= 1.05 * wanted[..., batteries].abs()).all()


def test_without_the_choice_droop_is_as_it_was(by_rule):
    days = by_rule.days("train")[:1]
    assert rollout(by_rule, DroopPolicy(by_rule), days).action.shape == (1, 48, 20)


def test_methods_that_plan_refuse_it(free):
    for build in (
        lambda: PerfectForesight(free, ForesightConfig()),
        lambda: RecedingHorizon(free),
    ):
        with pytest.raises(GradmapError, match="reactive power as a free choice"):
            build()


class Random:
    """Any actions, the same every time."""

    def __init__(self, core):
        generator = torch.Generator().manual_seed(0)
        self.action = 2.0 * torch.rand(*core.action_shape, generator=generator) - 1.0

    def reset(self, days):
        pass

    def act(self, observation):
        return self.action.expand(len(observation), *self.action.shape)


def test_those_offline_have_none(free):
    days = free.days("test")
    done = rollout(free, OfflinePolicy(Random(free), free, 0.5), days)
    policy = OfflinePolicy(Random(free), free, 0.5)
    policy.reset(days)
    offline = policy._is_offline
    assert offline.any()
    assert not offline.all()
    assert not done.action[..., 1].transpose(0, 1)[:, offline].any()
    expected = Random(free).action.expand(len(days), 20, 2)
    assert torch.equal(done.action[:, 0][~offline], expected[~offline])


def test_days_are_kept_with_their_reactive_power(free, by_rule):
    days = free.days("test")
    played = play(free, Random(free), days)
    assert played.action.shape == (len(days), 48, 20, 2)
    kept = trace(free, played)
    shape = kept["trace_p_kw"].shape
    assert kept["trace_action"].shape == kept["trace_q_kvar"].shape == shape
    agent = free.agent_names.index(str(kept["trace_agent"][0]))
    assert np.array_equal(kept["trace_q_kvar"][..., 0], played.q_kvar[..., agent].astype("f4"))
    assert np.array_equal(kept["trace_action"][..., 0], played.action[..., agent, 0])
    again = play(free, OpenLoopPolicy(days, torch.from_numpy(played.action)), days)
    assert np.array_equal(again.q_kvar, played.q_kvar)
    assert "trace_q_kvar" not in trace(by_rule, play(by_rule, Random(by_rule), days))
