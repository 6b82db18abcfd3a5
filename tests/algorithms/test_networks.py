"""Stacked networks: as many independent networks as there are agents."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gradmap.algorithms.networks import Actors, StackedLinear, StackedMLP

NUM_AGENTS, NUM_FEATURES, HIDDEN = 5, 11, (16, 8)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed))


@pytest.fixture
def actors():
    return Actors(NUM_AGENTS, NUM_FEATURES, HIDDEN, generator())


def alone(actors: Actors, agent: int) -> nn.Sequential:
    """The agent's network as an ordinary torch module of its own."""
    layers: list[nn.Module] = []
    for layer in actors.net:
        if not isinstance(layer, StackedLinear):
            layers.append(copy.deepcopy(layer))
            continue
        linear = nn.Linear(*layer.weight.shape[1:])
        with torch.no_grad():
            linear.weight.copy_(layer.weight[agent].T)
            linear.bias.copy_(layer.bias[agent, 0])
        layers.append(linear)
    return nn.Sequential(*layers, nn.Tanh())


def test_actions_have_the_shape_of_the_batch(actors):
    observation = randn(3, NUM_AGENTS, NUM_FEATURES)
    action = actors.act(observation)
    assert action.shape == (3, NUM_AGENTS)
    assert action.dtype == torch.float32
    samples = observation.transpose(0, 1)
    assert torch.equal(actors(samples).transpose(0, 1), action)


def test_actions_stay_between_the_ends(actors):
    with torch.no_grad():
        for weight in actors.parameters():
            weight.mul_(50.0).add_(randn(*weight.shape))
    assert actors.act(100.0 * randn(50, NUM_AGENTS, NUM_FEATURES)).abs().max() <= 1.0


def test_the_first_actions_are_near_the_middle(actors):
    """Where every device responds, and no agent is decided yet."""
    assert actors.act(randn(100, NUM_AGENTS, NUM_FEATURES)).abs().max() < 0.2


@pytest.mark.parametrize(("num_in", "num_out"), [(11, 32), (32, 11), (16, 16), (32, 1)])
def test_weights_begin_orthogonal_and_biases_at_zero(num_in, num_out):
    layer = StackedLinear(40, num_in, num_out, 1.5, generator())
    weight = layer.weight.detach()
    assert weight.shape == (40, num_in, num_out)
    tall = weight if num_in >= num_out else weight.transpose(1, 2)
    eye = torch.eye(min(num_in, num_out)).expand(40, -1, -1)
    torch.testing.assert_close(tall.transpose(1, 2) @ tall, 1.5**2 * eye, rtol=0.0, atol=1e-5)
    assert (layer.bias == 0.0).all()


def test_orthogonal_weights_are_drawn_without_a_preferred_sign():
    """A bare QR factorisation has a positive diagonal on one side or the other."""
    weight = StackedLinear(2000, 4, 4, 1.0, generator()).weight.detach()
    # The mean of 2,000 entries of variance 1/4, to four standard deviations.
    assert weight.mean(0).abs().max() < 4 * 0.5 / 2000**0.5


def test_agents_begin_different_and_a_seed_begins_alike():
    first, second = (Actors(3, 4, (8,), generator(5)).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    weight = first["net.0.weight"]
    assert not torch.equal(weight[0], weight[1])
    other = Actors(3, 4, (8,), generator(6)).state_dict()["net.0.weight"]
    assert not torch.equal(weight, other)


def test_what_one_agent_sees_moves_no_other(actors):
    observation = randn(7, NUM_AGENTS, NUM_FEATURES)
    before = actors.act(observation)
    for agent in range(NUM_AGENTS):
        other = observation.clone()
        other[:, agent] += 1.0
        is_moved = (actors.act(other) != before).any(0)
        assert is_moved.nonzero().flatten().tolist() == [agent]


def test_the_weights_of_one_agent_move_no_other(actors):
    observation = randn(7, NUM_AGENTS, NUM_FEATURES)
    before = actors.act(observation)
    for parameter in actors.parameters():
        for agent in range(NUM_AGENTS):
            with torch.no_grad():
                kept = parameter[agent].clone()
                parameter[agent] += 0.1
                is_moved = (actors.act(observation) != before).any(0)
                parameter[agent] = kept
            assert is_moved.nonzero().flatten().tolist() == [agent]


def test_no_gradient_leads_from_one_agent_to_another(actors):
    observation = randn(7, NUM_AGENTS, NUM_FEATURES).requires_grad_()
    for agent in range(NUM_AGENTS):
        wanted = [observation, *actors.parameters()]
        by_input, *by_weight = torch.autograd.grad(actors.act(observation)[:, agent].sum(), wanted)
        others = torch.arange(NUM_AGENTS) != agent
        assert (by_input[:, others] == 0.0).all()
        assert (by_input[:, agent] != 0.0).any()
        assert all((slope[others] == 0.0).all() for slope in by_weight)
        assert any((slope[agent] != 0.0).any() for slope in by_weight)


def test_every_parameter_has_an_agent_axis(actors):
    assert all(parameter.shape[0] == NUM_AGENTS for parameter in actors.parameters())


def test_stacked_networks_are_separate_networks(actors):
    observation = randn(9, NUM_AGENTS, NUM_FEATURES)
    expected = torch.cat([alone(actors, k)(observation[:, k]) for k in range(NUM_AGENTS)], dim=1)
    torch.testing.assert_close(actors.act(observation), expected, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("fused", [False, True])
def test_stacked_networks_learn_as_separate_networks_do(actors, fused):
    """Each with its own Adam, twenty steps, in float64: float32 rounding of a
    gradient near 0 would be all that Adam, which divides by its size, follows."""
    actors.double()
    singles = [alone(actors, k).double() for k in range(NUM_AGENTS)]
    observation = randn(64, NUM_AGENTS, NUM_FEATURES).double()
    goal = 0.5 * randn(64, NUM_AGENTS, seed=2).double()
    optimiser = torch.optim.Adam(actors.parameters(), lr=5e-3, fused=fused)
    own = [torch.optim.Adam(single.parameters(), lr=5e-3) for single in singles]
    first = actors.act(observation).detach()
    for _ in range(20):
        optimiser.zero_grad()
        ((actors.act(observation) - goal) ** 2).sum().backward()
        optimiser.step()
        for k, single in enumerate(singles):
            own[k].zero_grad()
            ((single(observation[:, k])[:, 0] - goal[:, k]) ** 2).sum().backward()
            own[k].step()
    learnt = torch.cat([single(observation[:, k]) for k, single in enumerate(singles)], dim=1)
    assert (learnt - first).abs().mean() > 0.01
    torch.testing.assert_close(actors.act(observation), learnt, rtol=0.0, atol=1e-9)
    for k, single in enumerate(singles):
        stacked = alone(actors.float(), k).state_dict()
        for key, value in single.state_dict().items():
            torch.testing.assert_close(stacked[key], value.float(), rtol=0.0, atol=1e-6)


def test_a_stack_may_end_wider_than_one():
    net = StackedMLP(3, 4, (8,), 2, generator(), gain=1.0)
    assert net(randn(3, 6, 4)).shape == (3, 6, 2)


def test_a_batch_of_days_asks_for_no_memory(actors):
    observation = randn(2, NUM_AGENTS, NUM_FEATURES)
    before = actors.act(observation)
    actors.reset(torch.tensor([3, 4]))
    assert torch.equal(actors.act(observation), before)
