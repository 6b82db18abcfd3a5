"""Advantages against RLlib's own, and the batch that episodes become."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("ray")

from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.utils.postprocessing.value_predictions import compute_value_targets

from gradmap.baselines.advantages import generalised_advantages
from gradmap.baselines.rllib.gae import JointBatchAndGAE
from gradmap.feeders.errors import GradmapError
from tests.baselines.rllib.learning import (
    NUM_FEATURES,
    NUM_STATE,
    module_of,
    spaces,
    stacked_learner,
)

NUM_AGENTS = 3


def episode(length: int, seed: int, *, is_terminated: bool = True) -> SingleAgentEpisode:
    rng = np.random.default_rng(seed)
    joint, action = spaces(NUM_AGENTS)
    found = SingleAgentEpisode(observation_space=joint, action_space=action)

    def seen() -> dict[str, Any]:
        return {
            "agents": rng.normal(size=(NUM_AGENTS, NUM_FEATURES)).astype(np.float32),
            "state": rng.normal(size=NUM_STATE).astype(np.float32),
        }

    found.add_env_reset(observation=seen())
    for step in range(length):
        found.add_env_step(
            observation=seen(),
            action=rng.normal(size=(NUM_AGENTS, 1)).astype(np.float32),
            reward=rng.normal(size=NUM_AGENTS).astype(np.float32),
            terminated=is_terminated and step == length - 1,
            extra_model_outputs={
                Columns.ACTION_LOGP: rng.normal(size=NUM_AGENTS).astype(np.float32),
                Columns.ACTION_DIST_INPUTS: rng.normal(size=(NUM_AGENTS, 2)).astype(np.float32),
            },
        )
    return found.to_numpy()


def batch_of(learner: Any, episodes: list[SingleAgentEpisode], **settings: Any) -> dict[str, Any]:
    chosen = {"discount": 0.9, "gae_lambda": 0.8, "normalise_values": False, **settings}
    made = JointBatchAndGAE(**chosen)(rl_module=learner.module, episodes=episodes, batch={})
    batch: dict[str, Any] = made[DEFAULT_MODULE_ID]
    return batch


@pytest.mark.parametrize("is_terminated", [True, False])
def test_advantages_equal_rllibs(is_terminated: bool) -> None:
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=12), rng.normal(size=13)
    if is_terminated:
        values[-1] = 0.0
    ours = generalised_advantages(torch.tensor(rewards), torch.tensor(values), 0.95, 0.9)
    # RLlib's episodes have one artificial step more, at which nothing ends.
    ends = np.zeros(13)
    ends[11] = 1.0
    theirs = compute_value_targets(
        values,
        np.append(rewards, 0.0),
        terminateds=ends if is_terminated else np.zeros(13),
        truncateds=np.zeros(13) if is_terminated else ends,
        gamma=0.95,
        lambda_=0.9,
    )
    # RLlib's result is float32.
    np.testing.assert_allclose(ours.numpy() + values[:12], theirs[:12], rtol=0, atol=1e-6)


def test_the_batch_has_each_agents_targets_and_standardised_advantages() -> None:
    learner = stacked_learner(NUM_AGENTS)
    episodes = [episode(5, 0), episode(7, 1, is_terminated=False)]
    batch = batch_of(learner, episodes)
    assert batch[Columns.OBS]["agents"].shape == (12, NUM_AGENTS, NUM_FEATURES)
    assert batch[Columns.ACTIONS].shape == (12, NUM_AGENTS, 1)
    targets, start = [], 0
    for each in episodes:
        seen = {k: torch.as_tensor(v) for k, v in each.get_observations(slice(0, None)).items()}
        with torch.no_grad():
            values = module_of(learner).compute_values({Columns.OBS: seen})
        if each.is_terminated:
            values[-1] = 0.0
        rewards = torch.as_tensor(each.get_rewards())
        targets.append(generalised_advantages(rewards, values, 0.9, 0.8) + values[:-1])
        rows = slice(start, start + len(each))
        assert torch.equal(batch[Columns.OBS]["agents"][rows], seen["agents"][:-1])
        start += len(each)
    torch.testing.assert_close(batch[Postprocessing.VALUE_TARGETS], torch.cat(targets))
    advantage = batch[Postprocessing.ADVANTAGES]
    torch.testing.assert_close(advantage.mean(0), torch.zeros(NUM_AGENTS), rtol=0, atol=1e-6)
    torch.testing.assert_close(advantage.std(0, correction=0), torch.ones(NUM_AGENTS))


def test_values_are_learnt_on_a_scale_of_their_own() -> None:
    learner = stacked_learner(NUM_AGENTS)
    net = module_of(learner)
    seen = {"agents": torch.randn(4, NUM_AGENTS, NUM_FEATURES), "state": torch.randn(4, NUM_STATE)}
    plain = net.scaled_values(seen)
    torch.testing.assert_close(net.compute_values({Columns.OBS: seen}), plain)
    targets = batch_of(learner, [episode(9, 2)], normalise_values=True)
    scaled = targets[Postprocessing.VALUE_TARGETS]
    torch.testing.assert_close(scaled.mean(0), torch.zeros(NUM_AGENTS), rtol=0, atol=1e-5)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(NUM_AGENTS))
    back = net.value_scale.denormalise(net.value_scale.normalise(plain))
    torch.testing.assert_close(back, plain)


def test_a_day_whose_power_flow_failed_is_left_out() -> None:
    learner = stacked_learner(NUM_AGENTS)
    good, bad = episode(5, 0), episode(6, 1)
    bad.rewards.data[3] = np.nan
    batch = batch_of(learner, [bad, good])
    assert len(batch[Columns.ACTIONS]) == 5
    with pytest.raises(GradmapError, match="no power flow converged through any of the 1 days"):
        batch_of(learner, [bad])
