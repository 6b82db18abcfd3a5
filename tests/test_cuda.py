"""On a GPU the same task gives the same figures; left out where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradmap.algorithms.config import LearnerConfig
from gradmap.algorithms.gradmap import GradMAP
from gradmap.algorithms.rollout import rollout
from gradmap.algorithms.self_supervised import SelfSupervised
from gradmap.baselines.foresight import PerfectForesight
from gradmap.baselines.foresight_config import ForesightConfig
from gradmap.baselines.idle import IdlePolicy
from gradmap.baselines.rules import RulesPolicy
from gradmap.envs.parallel import ParallelFeederEnv
from gradmap.envs.vector import JointVectorEnv

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

SMALL = LearnerConfig(hidden=(8,), days_per_batch=3, reuse_passes=2, minibatches=2)


@pytest.fixture(scope="module")
def cuda_core(make_core):
    return make_core(steps=6, core={"device": "cuda"})


def test_open_loop_days_agree_with_the_cpu(short_core, cuda_core):
    days = short_core.days("train")
    generator = torch.Generator().manual_seed(0)
    actions = 2.0 * torch.rand(4, 6, 20, generator=generator) - 1.0
    here = short_core.run_open_loop(days, actions)
    there = cuda_core.run_open_loop(days, actions.cuda())
    # Float32 devices, voltages solved to 1e-8 p.u. on either.
    torch.testing.assert_close(there.p_kw.cpu(), here.p_kw, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(
        there.flow.v_magnitude_pu.cpu(), here.flow.v_magnitude_pu, rtol=0.0, atol=1e-6
    )


@pytest.mark.parametrize("policy", [IdlePolicy, RulesPolicy])
def test_policies_run_there(short_core, cuda_core, policy):
    days = short_core.days("test")
    here = rollout(short_core, policy(short_core), days).outcome
    there = rollout(cuda_core, policy(cuda_core), days).outcome
    assert there.cost_usd.device.type == "cuda"
    torch.testing.assert_close(there.cost_usd.cpu(), here.cost_usd, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("method", [GradMAP, SelfSupervised])
def test_a_run_moves_between_machines(short_core, cuda_core, method):
    """What was learnt on the GPU goes on on the CPU, and back."""
    first = method(cuda_core, SMALL, seed=0)
    first.iterate(0.0)
    state = {key: value.cpu() for key, value in first.state_dict().items()}
    second = method(short_core, SMALL, seed=1)
    second.load_state_dict(state)
    here = second.iterate(0.1)
    third = method(cuda_core, SMALL, seed=2)
    third.load_state_dict(state)
    assert third.iterate(0.1)["cost_usd_per_day"] == pytest.approx(
        here["cost_usd_per_day"], rel=1e-3
    )


def test_perfect_foresight_runs_there(cuda_core):
    trainer = PerfectForesight(cuda_core, ForesightConfig())
    for _ in range(3):  # each of the two days begun, one of them linearised
        trainer.iterate(0.0)
    state = {key: value.cpu() for key, value in trainer.state_dict().items()}
    trainer.load_state_dict(state)
    assert np.isfinite(list(trainer.iterate(0.5).values())).all()
    rollout(cuda_core, trainer.policy(), cuda_core.days("test"))


def test_pettingzoo_steps_there(cuda_core):
    env = ParallelFeederEnv(cuda_core, render_mode="rgb_array")
    env.reset(seed=0)
    while env.agents:
        env.step({name: np.zeros(1, np.float32) for name in env.agents})
    assert env.render().shape[-1] == 3


def test_a_gymnasium_batch_steps_there(short_core, cuda_core):
    here, there = JointVectorEnv(short_core, 2), JointVectorEnv(cuda_core, 2)
    seen, found = here.reset(seed=0)[0], there.reset(seed=0)[0]
    for _ in range(2 * (cuda_core.num_steps + 1)):
        for key in seen:
            # Float32 devices; voltages solved to 1e-8 p.u. on either.
            np.testing.assert_allclose(found[key], seen[key], rtol=1e-4, atol=1e-4)
        actions = here.action_space.sample()
        (seen, reward, *_), (found, other, *_) = here.step(actions), there.step(actions)
        np.testing.assert_allclose(other, reward, rtol=1e-3, atol=1e-2)
