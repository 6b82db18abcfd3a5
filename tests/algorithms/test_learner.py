"""What the learners share: days, objective, schedules, counters, what a resumed run needs."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gradmap.algorithms.checkpoint import load_checkpoint, save_checkpoint
from gradmap.algorithms.config import LearnerConfig, PriceConfig
from gradmap.algorithms.gradmap import GradMAP
from gradmap.algorithms.rollout import rollout
from gradmap.algorithms.self_supervised import SelfSupervised
from gradmap.envs.constraints import violations
from gradmap.feeders.errors import GradmapError

# Written out: what is tested must not move with the tuning of the defaults.
PRICE = PriceConfig(
    kind="dual",
    voltage_usd_per_pu=100.0,
    overload_usd=10.0,
    dual_step=3e4,
    dual_decay=0.01,
    margin_pu=0.002,
)
SMALL = LearnerConfig(
    hidden=(8,),
    days_per_batch=3,
    learning_rate=5e-3,
    learning_rate_final=0.1,
    reuse_passes=2,
    minibatches=2,
    trust_region=0.05,
    proximal="clip",
    projection_usd_per_kwh=0.02,
    price=PRICE,
)
LEARNERS = {"gradmap": GradMAP, "self-supervised": SelfSupervised}


@pytest.fixture(params=LEARNERS)
def method(request):
    return LEARNERS[request.param]


def price(**settings):
    return dataclasses.replace(SMALL, price=dataclasses.replace(PRICE, **settings))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_optimiser_has_the_memory_that_was_asked_for(short_core, method):
    learner = method(short_core, dataclasses.replace(SMALL, adam_beta2=0.9), 0)
    assert [group["betas"] for group in learner.optimiser.param_groups] == [(0.9, 0.9)]


def test_a_set_without_training_days_is_refused(make_core, few_days, method):
    core = make_core(2, scenarios=few_days.subset(few_days.days("test")), steps=2)
    with pytest.raises(GradmapError, match="no training days"):
        method(core, SMALL, seed=0)


def test_the_objective_is_cost_projection_and_priced_violation(short_core, method):
    config = price(kind="fixed", voltage_usd_per_pu=70.0, overload_usd=5.0, margin_pu=0.03)
    learner = method(short_core, config, seed=0)
    done = rollout(short_core, learner.policy(), short_core.days("train"))
    outcome = done.outcome
    found = violations(outcome.flow, short_core.limits.tightened(0.03))
    network = 70.0 * (found.over_pu.sum() + found.under_pu.sum()) + 5.0 * found.overload.sum()
    led_back = config.projection_usd_per_kwh * 0.5 * outcome.clipped_kw.sum()
    expected = (outcome.cost_usd.sum() + led_back + network) / 4
    assert network.item() > 10.0
    assert learner.objective(outcome).item() == pytest.approx(expected.item(), rel=1e-5)


def test_without_a_price_the_network_is_left_out(short_core, method):
    learner = method(short_core, price(kind="none", margin_pu=0.03), seed=0)
    outcome = rollout(short_core, learner.policy(), short_core.days("train")).outcome
    led_back = SMALL.projection_usd_per_kwh * 0.5 * outcome.clipped_kw.sum()
    expected = (outcome.cost_usd.sum() + led_back).item() / 4
    assert learner.objective(outcome).item() == pytest.approx(expected, rel=1e-5)
    assert learner.multipliers is None


def test_multipliers_have_a_time_axis(short_core, method):
    learner = method(short_core, SMALL, seed=0)
    assert set(learner.multipliers) == {"over", "under", "overload"}
    assert all(value.shape[0] == 6 for value in learner.multipliers.values())


def test_an_iteration_reports_what_it_did(short_core, method):
    learner = method(short_core, SMALL, seed=0)
    with torch.no_grad():
        days = method(short_core, SMALL, seed=0).sampler.draw()
        before = rollout(short_core, learner.policy(), days).outcome
    metrics = learner.iterate(0.0)
    assert all(isinstance(value, float) for value in metrics.values())
    assert metrics["cost_usd_per_day"] == pytest.approx(before.cost_usd.sum().item() / 3, rel=1e-5)
    assert metrics["failed_days"] == 0.0
    expected = 0.5 * before.clipped_kw.sum((-2, -1)).mean().item()
    assert metrics["clipped_kwh_per_day"] == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert 0.0 <= metrics["outside_band_pct"] <= 100.0


def test_counters_count(short_core, method):
    learner = method(short_core, SMALL, seed=0)
    for k in range(1, 4):
        learner.iterate(0.0)
        steps = k * 3 * 6
        # Forward, adjoint (which GradMAP's model spares), and the measurement before midnight.
        flows = 1 if method is GradMAP else 2
        counted = (k, k, steps, flows * steps + k * 3)
        assert dataclasses.astuple(learner.counters) == counted


@pytest.mark.parametrize(("progress", "share"), [(0.0, 1.0), (0.5, 0.55), (1.0, 0.1), (1.7, 0.1)])
def test_the_learning_rate_falls_with_progress(short_core, method, progress, share):
    config = dataclasses.replace(SMALL, learning_rate=0.02, learning_rate_final=0.1)
    learner = method(short_core, config, seed=0)
    learner.iterate(progress)
    rates = [group["lr"] for group in learner.optimiser.param_groups]
    assert rates == pytest.approx([0.02 * share] * len(rates))


def test_a_seed_fixes_the_run(short_core, method):
    runs = []
    for seed in (1, 1, 2):
        learner = method(short_core, SMALL, seed=seed)
        runs.append([learner.iterate(0.0) for _ in range(3)])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_the_global_random_state_is_neither_read_nor_moved(short_core, method):
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = method(short_core, SMALL, seed=0).iterate(0.0)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    assert method(short_core, SMALL, seed=0).iterate(0.0) == first


def test_a_resumed_run_continues_to_the_same_numbers(short_core, method, tmp_path):
    """Bit for bit, through a file, in the middle of a pass over the days."""
    config = price(margin_pu=0.03)  # tight, so that multipliers move
    progress = [k / 8 for k in range(8)]
    whole = method(short_core, config, seed=3)
    expected = [whole.iterate(p) for p in progress]
    first = method(short_core, config, seed=3)
    metrics = [first.iterate(p) for p in progress[:3]]
    save_checkpoint(tmp_path / "c", first.state_dict(), {"task": "t"})
    second = method(short_core, config, seed=99)
    second.load_state_dict(load_checkpoint(tmp_path / "c", "t")[0])
    assert second.counters == first.counters
    assert first.prices.over.max() > 0.0
    metrics += [second.iterate(p) for p in progress[3:]]
    assert metrics == expected
    a, b = whole.state_dict(), second.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_an_untouched_learner_can_be_resumed_too(short_core, method):
    first, second = method(short_core, SMALL, seed=3), method(short_core, SMALL, seed=4)
    second.load_state_dict(first.state_dict())
    assert first.iterate(0.0) == second.iterate(0.0)


def test_a_state_is_a_copy(short_core, method):
    learner = method(short_core, SMALL, seed=0)
    learner.iterate(0.0)
    state = learner.state_dict()
    kept = {key: value.clone() for key, value in state.items()}
    learner.iterate(0.0)
    assert all(torch.equal(value, kept[key]) for key, value in state.items())
    learner.load_state_dict(state)
    learner.iterate(0.0)
    assert all(torch.equal(value, kept[key]) for key, value in state.items())


def test_the_state_of_another_shape_is_refused(short_core, make_core, method):
    state = method(make_core(5, steps=6), SMALL, seed=0).state_dict()
    with pytest.raises(RuntimeError, match="size mismatch"):
        method(short_core, SMALL, seed=0).load_state_dict(state)


@pytest.fixture(scope="module")
def broken_core(make_core, few_days):
    """The first of four training days has no solution at one step."""
    base = few_days.base_p_kw.copy()
    base[0, 3] *= 100.0
    return make_core(scenarios=dataclasses.replace(few_days, base_p_kw=base), steps=6)


def test_a_failed_day_is_counted_and_teaches_nothing(broken_core, short_core, method):
    config = dataclasses.replace(price(margin_pu=0.03), days_per_batch=4)
    learner = method(broken_core, config, seed=0)
    for _ in range(3):
        metrics = learner.iterate(0.0)
        assert metrics["failed_days"] == 1.0
        assert all(value == value for value in metrics.values())
    assert all(value.double().isfinite().all() for value in learner.state_dict().values())
    outcome = rollout(broken_core, learner.policy(), torch.arange(4)).outcome
    rest = rollout(short_core, learner.policy(), torch.arange(1, 4)).outcome
    # The same three days: voltages to the solver's tolerance, mean over three.
    assert learner.objective(outcome).item() == pytest.approx(
        learner.objective(rest).item(), rel=1e-5
    )


def test_days_that_all_fail_leave_the_weights_alone(make_core, few_days, method):
    base = few_days.base_p_kw.copy()
    base[:, 1] *= 100.0
    core = make_core(scenarios=dataclasses.replace(few_days, base_p_kw=base), steps=3)
    learner = method(core, SMALL, seed=0)
    before = {key: value.clone() for key, value in learner.actors.state_dict().items()}
    metrics = learner.iterate(0.0)
    assert metrics["failed_days"] == 3.0
    assert metrics["cost_usd_per_day"] == 0.0
    after = learner.actors.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("proximal", ["clip", "quadratic"])
def test_learning_lowers_the_objective(short_core, method, proximal):
    config = dataclasses.replace(price(kind="fixed", margin_pu=0.02), proximal=proximal)
    learner = method(short_core, config, seed=0)
    days = short_core.days("train")

    @torch.no_grad()
    def objective():
        return learner.objective(rollout(short_core, learner.policy(), days).outcome).item()

    start = objective()
    for k in range(25):
        learner.iterate(k / 25)
    assert objective() < start - 0.1 * abs(start)
