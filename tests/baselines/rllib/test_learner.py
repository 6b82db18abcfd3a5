"""Each agent learns as if it were alone."""

from __future__ import annotations

import copy

import pytest
import torch

pytest.importorskip("ray")

from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.evaluation.postprocessing import Postprocessing

from tests.baselines.rllib.learning import (
    columns,
    module_of,
    stacked_learner,
    update_stacked,
    weights,
)


@pytest.mark.parametrize("critic", ["local", "central_per_agent"])
def test_other_agents_do_not_feel_one_agents_data(critic: str) -> None:
    one, other = (stacked_learner(5, critic=critic, kl_stop=1.0) for _ in range(2))
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        batch = columns(5, 32, generator)
        changed = copy.deepcopy(batch)
        changed["obs"]["agents"][:, 0] += 1.0
        changed[Postprocessing.ADVANTAGES][:, 0] *= -50.0
        changed[Postprocessing.VALUE_TARGETS][:, 0] += 100.0
        update_stacked(one, batch)
        update_stacked(other, changed)
    first, second = weights(one), weights(other)
    for name in first:
        if not name.startswith("value_scale"):
            assert torch.equal(first[name][1:], second[name][1:]), name
    assert not torch.equal(first["actors.net.0.weight"][0], second["actors.net.0.weight"][0])


def test_a_central_trunk_is_shared_but_policies_are_not() -> None:
    """Advantages and sampled policies are given: the trunk reaches no policy in an update."""
    one, other = (stacked_learner(5, critic="central", kl_stop=None) for _ in range(2))
    generator = torch.Generator().manual_seed(1)
    # The clip is on an agent's policy and critic together, so it would pass a
    # change of the trunk on to the step of a policy.
    for learner in (one, other):
        learner.config.get_config_for_module(DEFAULT_MODULE_ID).grad_clip = None
    for _ in range(4):
        batch = columns(5, 32, generator)
        changed = copy.deepcopy(batch)
        changed[Postprocessing.VALUE_TARGETS][:, 0] += 100.0
        update_stacked(one, batch)
        update_stacked(other, changed)
    first, second = weights(one), weights(other)
    assert all(torch.equal(first[k], second[k]) for k in first if k.startswith("actors."))
    assert not torch.equal(first["critic.trunk.0.weight"], second["critic.trunk.0.weight"])


def test_the_norm_is_clipped_for_each_agent_alone() -> None:
    learner = stacked_learner(3, grad_clip=0.5)
    net = module_of(learner)
    references = {learner.get_param_ref(p): p for p in net.parameters()}
    large = torch.tensor([100.0, 1e-3, 1.0])
    gradients = {
        ref: torch.ones_like(p) * large.view(-1, *[1] * (p.dim() - 1))
        for ref, p in references.items()
    }
    size = sum(p[0].numel() for p in net.parameters())
    clipped = learner.postprocess_gradients_for_module(
        module_id=DEFAULT_MODULE_ID, config=learner.config, module_gradients_dict=gradients
    )
    norms = torch.stack([g.reshape(3, -1).square().sum(1) for g in clipped.values()]).sum(0).sqrt()
    expected = torch.tensor([0.5, 1e-3 * size**0.5, 0.5])
    torch.testing.assert_close(norms, expected, rtol=1e-4, atol=0)


def test_a_policy_that_has_gone_too_far_stands_still_and_its_critic_goes_on() -> None:
    learner = stacked_learner(4, kl_stop=1.0, learning_rate=1e-2, grad_clip=None)
    generator = torch.Generator().manual_seed(2)
    batch = columns(4, 64, generator)
    # Samples of agent 2 come from a policy far from the present one.
    batch["action_dist_inputs"][:, 2, 0] += 3.0
    update_stacked(learner, batch)  # Adam has moments from here on
    before = weights(learner)
    learnt = update_stacked(learner, batch)["share_of_policies_learning"]
    after = weights(learner)
    moved = {k: (after[k] != before[k]).flatten(1).any(1) for k in after if k[:5] != "value"}
    for name, rows in moved.items():
        if name.startswith(("actors.net.4", "log_std")):
            assert rows.tolist() == [True, True, False, True], name
        if name.startswith("critic.net.4"):
            assert rows.all(), name
    assert float(learnt.peek()) == 0.75


def test_state_goes_out_and_in() -> None:
    one, other = stacked_learner(3), stacked_learner(3)
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        update_stacked(one, columns(3, 16, generator))
    other.load_tensors({k: v.clone() for k, v in one.tensors().items()})
    batch = columns(3, 16, generator)
    for learner in (one, other):
        update_stacked(learner, batch)
    assert all(torch.equal(v, weights(other)[k]) for k, v in weights(one).items())


def test_the_rate_is_set_from_outside() -> None:
    learner = stacked_learner(2)
    learner.learning_rate = 0.0
    before = weights(learner)
    update_stacked(learner, columns(2, 16, torch.Generator().manual_seed(0)))
    assert all(torch.equal(v, before[k]) for k, v in weights(learner).items())
