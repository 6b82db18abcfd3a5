"""Stacked networks by compiled loops: what batched products give, and their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradmap.algorithms.fused_layers import fused_layers, fused_slope, is_fused
from gradmap.algorithms.networks import StackedMLP
from gradmap.algorithms.stacked_kernels import CHUNK

AGENTS = 5

# Sums in another order, of some tens of numbers of about 1.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def net(sizes: tuple[int, ...]) -> StackedMLP:
    made = StackedMLP(AGENTS, sizes[0], sizes[1:-1], sizes[-1], generator(), gain=1.0)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if name.endswith("bias"):
                value.copy_(torch.randn(value.shape, generator=generator(1)))
    return made


def by_products(network: StackedMLP, x: torch.Tensor) -> torch.Tensor:
    return nn.Sequential.forward(network, x)


def samples_of(x: torch.Tensor, days: torch.Tensor) -> torch.Tensor:
    return x[days].transpose(0, 1).flatten(1, 2)


def nothing_shared(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0, :, :0]


def draw(num_days: int, steps: int, shared: int, own: int, seed: int) -> tuple[torch.Tensor, ...]:
    """What all agents see alike, what each sees besides, and both together."""
    alike = torch.randn(num_days, steps, shared, generator=generator(seed))
    x = torch.randn(num_days, AGENTS, steps, own, generator=generator(seed + 100))
    return alike, x, torch.cat((alike.unsqueeze(1).expand(-1, AGENTS, -1, -1), x), dim=-1)


@pytest.mark.parametrize("steps", [1, 48, CHUNK, CHUNK + 3], ids=lambda n: f"{n} steps")
@pytest.mark.parametrize(
    ("shared", "sizes"),
    [(11, (15, 16, 16, 1)), (0, (15, 16, 1)), (1, (3, 2)), (5, (5, 7, 1)), (2, (6, 4, 9, 5, 2))],
    ids=str,
)
def test_it_is_the_batched_product_forward_and_back(shared, sizes, steps):
    network = net(sizes)
    days = torch.tensor([3, 0, 2])
    alike, own, x = draw(4, steps, shared, sizes[0] - shared, 2)
    plain, fused = (given.clone().requires_grad_(True) for given in (x, own))
    expected = by_products(network, samples_of(plain, days))
    found = fused_layers(alike, fused, days, list(network.parameters()))
    torch.testing.assert_close(found, expected, **CLOSE)
    weight = torch.randn(expected.shape, generator=generator(3))
    leaves = list(network.parameters())
    to_all, *slopes = torch.autograd.grad((expected * weight).sum(), [plain, *leaves])
    slopes = [to_all[..., shared:], *slopes]
    ours = torch.autograd.grad((found * weight).sum(), [fused, *leaves])
    for a, b in zip(ours, slopes, strict=True):
        scale = max(1.0, b.abs().max().item()) if b.numel() else 1.0
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * scale)


def test_its_slope_is_that_of_the_batched_product():
    network, days = net((6, 7, 5, 2)), torch.tensor([1, 0])
    alike, own, x = draw(2, CHUNK - 1, 2, 4, 4)
    for feature in (0, 4):
        seen = samples_of(x, days).requires_grad_(True)
        out = by_products(network, seen)
        value, slope = fused_slope(alike, own, days, list(network.parameters()), feature)
        torch.testing.assert_close(value, out, **CLOSE)
        for k in range(2):
            (expected,) = torch.autograd.grad(out[..., k].sum(), seen, retain_graph=True)
            torch.testing.assert_close(slope[..., k], expected[..., feature], **CLOSE)


def test_silu_holds_from_end_to_end():
    """One unit of weight 1: its output is `silu`, which ends in 0 and in the input."""
    z = torch.linspace(-100.0, 100.0, 4001).view(1, 1, -1, 1)
    one, none = torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
    only = torch.zeros(1, dtype=torch.int64)
    found = fused_layers(nothing_shared(z), z, only, [one, none, one, none])
    expected = torch.nn.functional.silu(z.double()).flatten()
    assert (found.flatten() - expected).abs().max() < 1e-5
    near = z.flatten().abs() < 8
    assert (found.flatten() - expected)[near].abs().max() < 2e-6


def test_threads_share_the_agents():
    network, days = net((15, 16, 16, 1)), torch.tensor([0])
    x = torch.randn(1, AGENTS, 40, 15, generator=generator(5))
    found, threads = [], torch.get_num_threads()
    try:
        for num in (1, 2, 8):
            torch.set_num_threads(num)
            network.zero_grad()
            out = fused_layers(nothing_shared(x), x, days, list(network.parameters()))
            out.square().sum().backward()
            found.append([out.detach(), *(p.grad.clone() for p in network.parameters())])
    finally:
        torch.set_num_threads(threads)
    for others in found[1:]:
        for a, b in zip(others, found[0], strict=True):
            assert torch.equal(a, b)


def test_networks_take_the_loops_where_they_suit():
    network = net((4, 8, 1))
    many = torch.randn(AGENTS, 64, 4, generator=generator(6))
    parameters = list(network.parameters())
    assert is_fused(many, 64, parameters)
    assert not is_fused(many, 8, parameters)
    assert not is_fused(many.double(), 64, parameters)
    assert not is_fused(many, 64, list(net((4, 80, 1)).parameters()))
    torch.testing.assert_close(network(many), by_products(network, many), **CLOSE)
    few = many[:, :8]
    assert torch.equal(network(few), by_products(network, few))
    precise = net((4, 8, 1)).double()
    assert torch.equal(precise(many.double()), by_products(precise, many.double()))


@pytest.mark.parametrize("steps", [2, 48])
def test_days_are_samples_one_after_the_other(steps):
    network, days = net((4, 8, 1)), torch.tensor([2, 0])
    alike, own, x = draw(3, steps, 1, 3, 7)
    expected = by_products(network, samples_of(x, days))
    torch.testing.assert_close(network.on_days(alike, own, days), expected, **CLOSE)
    value, slope = network.slope(alike, own, days, 1)
    torch.testing.assert_close(value, expected, **CLOSE)
    assert slope.shape == expected.shape


def test_weights_without_gradient_get_none():
    network, days = net((4, 8, 1)), torch.tensor([0])
    network.requires_grad_(False)
    x = torch.randn(1, AGENTS, 40, 4, generator=generator(8), requires_grad=True)
    out = fused_layers(nothing_shared(x), x, days, list(network.parameters()))
    (slope,) = torch.autograd.grad(out.sum(), x)
    seen = samples_of(x, days)
    (expected,) = torch.autograd.grad(by_products(network, seen).sum(), x)
    torch.testing.assert_close(slope, expected, **CLOSE)
