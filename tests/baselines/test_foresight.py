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
from gradmap.envs.constraints import violations
from gradmap.feeders.errors import GradmapError

CONFIG = ForesightConfig()
NUM_ITERATIONS = 60


def result(core, policy, days):
    """Cost in $ and share of node-steps outside the band."""
    with torch.no_grad():
        outcome = rollout(core, policy, days).outcome
    found = violations(outcome.flow, core.limits)
    is_outside = (found.over_pu > 0.0) | (found.under_pu > 0.0)
    return outcome.cost_usd.sum().item(), is_outside.double().mean().item()


@pytest.fixture(scope="module")
def core(make_core):
    """Fifty agents, the fewest that hold all the feeder's flexible power; whole days."""
    return make_core(50)


@pytest.fixture(scope="module")
def trained(core):
    """Two test days, a short run."""
    trainer = PerfectForesight(core, CONFIG)
    metrics = [trainer.iterate(k / NUM_ITERATIONS) for k in range(NUM_ITERATIONS)]
    return trainer, metrics


def test_it_is_cheaper_and_calmer_than_rules(core, trained):
    days = core.days("test")
    cost, outside = result(core, trained[0].policy(), days)
    for policy in (RulesPolicy(core), IdlePolicy(core)):
        other_cost, other_outside = result(core, policy, days)
        assert cost <= other_cost
        if isinstance(policy, RulesPolicy):
            assert outside <= other_outside


def test_it_improves(core, trained):
    _, metrics = trained
    first, last = metrics[0], metrics[-1]
    assert set(first) == {"cost_usd_per_day", "outside_band_pct", "failed_days"}
    assert last["cost_usd_per_day"] < first["cost_usd_per_day"]
    assert last["outside_band_pct"] < 1.0
    assert {row["failed_days"] for row in metrics} == {0.0}


def test_its_policy_replays_what_was_optimised(core, trained):
    trainer, _ = trained
    days = core.days("test")
    done = rollout(core, trainer.policy(), days)
    assert torch.equal(done.action, trainer.action.detach())
    assert done.action.abs().max() <= 1.0
    at_once = core.run_open_loop(days, trainer.action.detach())
    assert torch.equal(done.outcome.cost_usd, at_once.cost_usd)


def test_a_policy_taken_earlier_stays_as_it_was(short_core):
    trainer = PerfectForesight(short_core, CONFIG)
    policy = trainer.policy()
    before = rollout(short_core, policy, trainer.days).action
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
        assert dataclasses.astuple(trainer.counters) == (k, k, k * 12, k * (2 * 12 + 2))


def test_prices_grow_where_limits_are_violated(short_core):
    trainer = PerfectForesight(short_core, dataclasses.replace(CONFIG, margin_pu=0.04))
    with torch.no_grad():
        outcome = short_core.run_open_loop(trainer.days, trainer.action)
    found = violations(outcome.flow, short_core.limits.tightened(0.04))
    before = {name: value.clone() for name, value in trainer.multipliers.items()}
    trainer.iterate(0.0)
    assert (found.over_pu > 0.0).any()
    share = (found.over_pu > 0.0).double().mean(0)
    grown = trainer.multipliers["over_pu"] / before["over_pu"]
    expected = 1.0 + (CONFIG.dual_growth - 1.0) * share
    torch.testing.assert_close(grown.double(), expected, rtol=1e-5, atol=0.0)


def test_a_resumed_run_continues_to_the_same_numbers(short_core, tmp_path):
    tight = dataclasses.replace(CONFIG, margin_pu=0.04)  # so that prices move
    whole, first = (PerfectForesight(short_core, tight) for _ in range(2))
    expected = [whole.iterate(k / 8) for k in range(8)]
    metrics = [first.iterate(k / 8) for k in range(3)]
    save_checkpoint(tmp_path / "c", first.state_dict(), {"task": "t"})
    second = PerfectForesight(short_core, tight)
    second.load_state_dict(load_checkpoint(tmp_path / "c")[0])
    assert second.counters == first.counters
    metrics += [second.iterate(k / 8) for k in range(3, 8)]
    assert metrics == expected
    assert expected[0]["outside_band_pct"] > 0.0
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
    assert all(torch.equal(value, kept[key]) for key, value in state.items())


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
    for _ in range(5):
        assert trainer.iterate(0.0)["failed_days"] == 1.0
    assert trainer.action.isfinite().all()
    assert (trainer.action[1] != 0.0).any()
    assert all(value.isfinite().all() for value in trainer.multipliers.values())
    assert good != bad
