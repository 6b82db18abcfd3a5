"""Stacked networks by compiled loops, with gradients; see `stacked_kernels`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradmap.algorithms import stacked_kernels

MIN_SAMPLES = 32
"""Samples of an agent below which a batched product is as fast: vectors would stay empty."""

MAX_WIDTH = 64
"""Units of a layer beyond which a library's product is the faster: the first cache is full."""


def is_fused(x: Tensor, num_samples: int, parameters: Sequence[Tensor]) -> bool:
    """Says whether the compiled loops take these inputs.

    Args:
        x: Inputs of stacked networks. `[..., in]`
        num_samples: Samples of each agent.
        parameters: Weights and biases, as in `fused_layers`.
    """
    suits = x.device.type == "cpu" and x.dtype == torch.float32 and num_samples >= MIN_SAMPLES
    return suits and max(x.shape[-1], *(b.shape[-1] for b in parameters[1::2])) <= MAX_WIDTH


class _Fused(torch.autograd.Function):
    """All layers of all agents' networks; gradient in the weights and in the inputs."""

    @staticmethod
    def forward(ctx: Any, shared: Tensor, x: Tensor, blocks: Tensor, *parameters: Tensor) -> Tensor:
        weights, biases = parameters[0::2], parameters[1::2]
        _, agents, _, steps = x.shape
        out = torch.empty(agents, len(blocks) * steps, weights[-1].shape[2])
        inputs = _arrays((shared, x, blocks))
        arguments = (*inputs, _arrays(weights), _arrays(biases), _array(out))
        _over_agents(stacked_kernels.forward, arguments, agents)
        ctx.save_for_backward(shared, x, blocks, *parameters)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        shared, x, blocks, *parameters = ctx.saved_tensors
        found = [torch.empty_like(p, memory_format=torch.contiguous_format) for p in parameters]
        # Of agents 0 where nobody asks; the kernel looks at the length.
        num = x.shape[1] if ctx.needs_input_grad[1] else 0
        to_x = torch.empty(num, grad.shape[1], x.shape[2])
        given = (*_arrays((shared, x, blocks)), *(_arrays(parameters[k::2]) for k in (0, 1)))
        made = (*(_arrays(found[k::2]) for k in (0, 1)), _array(to_x))
        arguments = (*given, _array(grad), *made)
        _over_agents(stacked_kernels.backward, arguments, x.shape[1])
        if not num:
            return None, None, None, *found
        shape = (num, len(blocks), x.shape[3], x.shape[2])
        by_block = to_x.view(shape).permute(1, 0, 3, 2)
        spread = torch.zeros_like(x).index_add_(0, blocks, by_block)
        return None, spread, None, *found


def fused_layers(shared: Tensor, x: Tensor, blocks: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Passes samples through stacked networks with SiLU between their layers.

    Args:
        shared: Inputs that all agents have in common, before their own, on the CPU;
            none is fine. No gradient flows to them. `[block, step, shared]`, float32
        x: Each agent's own inputs; where the memory of an input is one run along the
            steps they are not copied. `[block, agent, step, own]`, float32
        blocks: Which blocks; their steps one after the other are the samples.
            `[chosen]`, int64
        parameters: Weights `[agent, in, out]` and biases `[agent, 1, out]` of
            the layers, in turn.

    Returns:
        What the last layer gives. `[agent, sample, out]`
    """
    # In the function's own code gradients are not recorded.
    tensors = [p.contiguous() for p in parameters]
    inputs = (_in_runs(shared.detach()), _in_runs(x), blocks)
    result: Tensor = _Fused.apply(*inputs, *tensors)  # type: ignore[no-untyped-call]
    return result


@torch.no_grad()
def fused_slope(
    shared: Tensor, x: Tensor, blocks: Tensor, parameters: Sequence[Tensor], feature: int
) -> tuple[Tensor, Tensor]:
    """Does the same, and differentiates by one of the inputs, without gradients.

    Args:
        shared: Inputs in common, as in `fused_layers`.
        x: Own inputs, likewise.
        blocks: Which blocks.
        parameters: Weights and biases.
        feature: Index of the input, those in common counted first.

    Returns:
        What the last layer gives, and its derivative. `[agent, sample, out]` each
    """
    weights, biases = (_arrays(parameters[k::2]) for k in (0, 1))
    agents, steps = x.shape[1:3]
    out, slope = (torch.empty(agents, len(blocks) * steps, weights[-1].shape[2]) for _ in range(2))
    inputs = _arrays((_in_runs(shared), _in_runs(x), blocks))
    arguments = (*inputs, weights, biases, feature, _array(out), _array(slope))
    _over_agents(stacked_kernels.forward_slope, arguments, agents)
    return out, slope


def _in_runs(x: Tensor) -> Tensor:
    """The inputs as the kernels read them: features before steps. `[..., in, step]`, contiguous"""
    return x.transpose(-1, -2).contiguous()


def _array(x: Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = x.detach().contiguous().numpy()
    return array


def _arrays(tensors: Sequence[Tensor]) -> tuple[np.ndarray[Any, Any], ...]:
    return tuple(_array(x) for x in tensors)


def _over_agents(kernel: Callable[..., None], arguments: tuple[Any, ...], agents: int) -> None:
    """Runs a kernel on all agents, on as many threads as torch may use."""
    num = min(torch.get_num_threads(), agents)
    ends = [agents * k // num for k in range(num + 1)]
    # Started anew each time: that takes less than a hundredth of a kernel's time,
    # and no pool has to survive a fork.
    others = [
        threading.Thread(target=kernel, args=(*arguments, *ends[k : k + 2])) for k in range(1, num)
    ]
    for thread in others:
        thread.start()
    kernel(*arguments, *ends[:2])
    for thread in others:
        thread.join()
