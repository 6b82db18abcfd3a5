"""Perfect foresight: actions of known days, optimised together."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gradmap.algorithms.checkpoint import load_checkpoint, save_checkpoint
from gradmap.algorithms.rollout import rollout
from gradmap.baselines.foresight import OpenLoopPolicy, PerfectForesight
from gradmap.baselines.foresight_config import ForesightConfig
from gradmap.baselines.idle import IdlePolicy
from gradmap.baselines.rules import RulesPolicy
from gradmap.baselines.rules_config import RulesConfig
from gradmap.envs.constraints import violations
from gradmap.feeders.errors import GradmapError

CONFIG = ForesightConfig()
NUM_ITERATIONS = 24


def result(core, policy, days):
    """Cost of each day in $, and the largest excess over any limit."""
    with torch.no_grad():
        outcome = rollout(core, policy, days).outcome
    found = violations(outcome.flow, core.limits)
    excess = [float(each.max()) for each in vars(found).values()]
    return outcome.cost_usd.double().sum((1, 2, 3)), max(excess)


@pytest.fixture(scope="module")
def core(make_core):
    """Fifty agents, the fewest that hold all the feeder's flexible power; whole days."""
    return make_core(50)


@pytest.fixture(scope="module")
def trained(core):
    """Two test days, up to twelve rounds each; fewer once both are done."""
    trainer = PerfectForesight(core, CONFIG)
    metrics = []
    while len(metrics) < NUM_ITERATIONS and not bool(trainer._is_done().all()):
        metrics.append(trainer.iterate(len(metrics) / NUM_ITERATIONS))
    return trainer, metrics


def test_bound_foresight_and_every_feasible_policy_are_in_order(core, trained):
    trainer, _ = trained
    days = core.days("test")
    cost, excess = result(core, trainer.policy(), days)
    bound = trainer.lower_bound_usd()
    assert excess == 0.0
    assert bound.dtype == torch.float64
    assert (bound <= cost + 1e-3).all()  # of float32
    assert ((cost - bound) <= 0.01 * cost.abs()).all()
    for policy in (RulesPolicy(core, RulesConfig()), IdlePolicy(core)):
        assert (cost <= result(core, policy, days)[0]).all()


def test_a_network_costs_something(trained):
    trainer, _ = trained
    alone = trainer._figure("alone")
    assert (alone < trainer.lower_bound_usd()).all()


def test_it_improves(trained):
    _, metrics = trained
    assert set(metrics[0]) == {
        "cost_usd_per_day",
        "lower_bound_usd_per_day",
        "outside_band_pct",
        "infeasible_days",
        "failed_days",
    }
    last = metrics[-1]
    assert last["cost_usd_per_day"] < metrics[1]["cost_usd_per_day"]
    assert last["lower_bound_usd_per_day"] > metrics[1]["lower_bound_usd_per_day"]
    assert last["outside_band_pct"] == last["infeasible_days"] == last["failed_days"] == 0.0


def test_its_policy_replays_what_was_optimised(core, trained):
    trainer, metrics = trained
    days = core.days("test")
    done = rollout(core, trainer.policy(), days)
    assert torch.equal(done.action, trainer.action)
    assert done.action.abs().max() <= 1.0
    cost = done.outcome.cost_usd.double().sum((1, 2, 3)).mean().item()
    assert cost == pytest.approx(metrics[-1]["cost_usd_per_day"], rel=1e-6)


def test_there_is_no_bound_before_every_day_has_begun(short_core):
    trainer = PerfectForesight(short_core, CONFIG)
    assert trainer.lower_bound_usd() is None
    trainer.iterate(0.0)
    assert trainer.lower_bound_usd() is None
    trainer.iterate(0.0)
    assert trainer.lower_bound_usd().shape == trainer.days.shape


def test_a_policy_taken_earlier_stays_as_it_was(short_core):
    trainer = PerfectForesight(short_core, CONFIG)
    policy = trainer.policy()
    before = rollout(short_core, policy, trainer.days).action
    for _ in range(4):
        trainer.iterate(0.0)
    assert torch.equal(rollout(short_core, policy, trainer.days).action, before)
    after = rollout(short_core, trainer.policy(), trainer.days).action
    assert not torch.equal(after, before)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_it_knows_the_days_of_its_split_only(short_core, split):
    trainer = PerfectForesight(short_core, CONFIG, split)
    assert torch.equal(trainer.days, short_core.days(split))
    other = short_core.days("train" if split != "train" else "test")
    with pytest.raises(GradmapError, match=r"not for days .*; evaluate it on the split"):
        trainer.policy().reset(other)


def test_a_split_without_days_is_refused(make_core, few_days):
    core = make_core(2, scenarios=few_days.subset([0, 1]), steps=2)
    with pytest.raises(GradmapError, match="no days of split 'test'"):
        PerfectForesight(core, CONFIG)


def test_days_may_come_in_any_order_and_number():
    action = torch.arange(24.0).reshape(3, 4, 2)
    policy = OpenLoopPolicy(torch.tensor([5, 7, 9]), action)
    for days, rows in (([9, 5], [2, 0]), ([7], [1]), ([5, 5, 7, 9], [0, 0, 1, 2])):
        policy.reset(torch.tensor(days))
        for step in range(4):
            seen = torch.zeros(len(days), 2, 3)
            assert torch.equal(policy.act(seen), action[rows, step])
    with pytest.raises(GradmapError, match=r"for 3 days, not for days \[6\]"):
        policy.reset(torch.tensor([5, 6]))


def test_counters_count(short_core):
    trainer = PerfectForesight(short_core, CONFIG)
    for k in (1, 2):
        trainer.iterate(0.0)
        assert dataclasses.astuple(trainer.counters)[:3] == (k, k, k * 6)
    solves = trainer.counters.power_flow_solves
    trainer.iterate(0.0)
    assert trainer.counters.power_flow_solves > solves


def test_prices_lie_where_limits_bind(core, trained):
    prices = trained[0].multipliers
    assert set(prices) == {"over_pu", "under_pu", "overload"}
    assert all((value >= 0.0).all() for value in prices.values())
    outcome = core.run_open_loop(core.days("test"), trained[0].action)
    v_pu = outcome.flow.v_magnitude_pu[..., core.limits.monitored]
    dear = vars(trained[0]._prices)["over_pu"] > 10.0
    assert dear.any()
    assert (v_pu[dear] > core.limits.vmax_pu - 1e-3).all()


def test_a_resumed_run_continues_to_the_same_numbers(short_core, tmp_path):
    whole, first = (PerfectForesight(short_core, CONFIG) for _ in range(2))
    expected = [whole.iterate(k / 8) for k in range(8)]
    metrics = [first.iterate(k / 8) for k in range(3)]
    save_checkpoint(tmp_path / "c", first.state_dict(), {"task": "t"})
    second = PerfectForesight(short_core, CONFIG)
    second.load_state_dict(load_checkpoint(tmp_path / "c")[0])
    assert second.counters == first.counters
    metrics += [second.iterate(k / 8) for k in range(3, 8)]
    assert metrics == expected
    a, b = whole.state_dict(), second.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_state_is_a_copy(short_core):
    trainer = PerfectForesight(short_core, CONFIG)
    trainer.iterate(0.0)
    state = trainer.state_dict()
    kept = {key: value.clone() for key, value in state.items()}
    trainer.load_state_dict(state)
    trainer.iterate(0.0)
    for key, value in state.items():
        torch.testing.assert_close(value, kept[key], rtol=0.0, atol=0.0, equal_nan=True)


def test_the_state_of_other_days_is_refused(short_core):
    state = PerfectForesight(short_core, CONFIG, "validation").state_dict()
    with pytest.raises(GradmapError, match="other days"):
        PerfectForesight(short_core, CONFIG, "test").load_state_dict(state)


def test_a_failed_day_is_counted_and_the_others_go_on(make_core, few_days):
    base = few_days.base_p_kw.copy()
    bad, good = few_days.days("test")
    base[bad, 1] *= 100.0
    core = make_core(scenarios=dataclasses.replace(few_days, base_p_kw=base), steps=3)
    trainer = PerfectForesight(core, CONFIG)
    metrics = [trainer.iterate(0.0) for _ in range(2 + 2 * 12)]
    assert metrics[-1]["failed_days"] == 1.0
    assert trainer.action.isfinite().all()
    assert trainer._figure("excess")[1] == 0.0
    assert all(value.isfinite().all() for value in trainer.multipliers.values())
    assert good != bad


def test_settings_say_all_that_is_wrong():
    with pytest.raises(GradmapError, match=r"gap is -1.*tolerance is 0.*voltage_cuts is 0"):
        ForesightConfig(gap=-1.0, tolerance=0.0, voltage_cuts=0)
