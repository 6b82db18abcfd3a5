"""Taps and capacitors as a caller gives them, checked and made into maps."""

from __future__ import annotations

import torch
from torch import Tensor

from gradmap.feeders.errors import raise_faults
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.sparse import SparseMaps
from gradmap.feeders.powerflow.sparse_taps import SparseTappedMaps
from gradmap.feeders.powerflow.sparse_taps_build import SparseTaps
from gradmap.feeders.powerflow.taps import TappedMaps
from gradmap.feeders.powerflow.taps_dense import DenseTapMaps, DenseTappedMaps


def tapped_maps(
    network: Network, lead: torch.Size, taps: Tensor | None, capacitors: Tensor | None
) -> TappedMaps | None:
    """Makes the maps of a batch at its own taps and capacitors.

    Args:
        network: The network.
        lead: Leading shape of the batch.
        taps: Tap positions, `[..., regulator]` or `[regulator]`, or `None`.
        capacitors: What is on, `[..., capacitor]` or `[capacitor]`, or `None`.

    Returns:
        The maps; `None` if neither is given.

    Raises:
        GradmapError: If they do not fit, are out of range, or the network
            cannot take them.
    """
    if taps is None and capacitors is None:
        return None
    feeder = network.feeder
    r, banks = feeder.regulators, feeder.controls.capacitors
    faults = _shape_faults(network, lead, taps, len(r), "taps", "regulator")
    faults += _shape_faults(network, lead, capacitors, len(banks), "capacitors", "capacitor")
    if network.taps is None:
        faults.append(f"feeder {feeder.name} has no tap or capacitor that can be moved")
    raise_faults("power flow", faults)
    at, is_on = (torch.from_numpy(part.copy()).to(network.device) for part in (r.tap, banks.is_on))
    position = at if taps is None else taps.to(torch.int64)
    position = position.expand(*lead, -1).reshape(lead.numel(), len(r))
    state = is_on if capacitors is None else capacitors.to(torch.bool)
    state = state.expand(*lead, -1).reshape(lead.numel(), len(banks))
    raise_faults("power flow", _range_faults(network, position))
    steps = torch.tensor(r.tap_step_pu, device=network.device)
    gain = torch.cat((1.0 / (1.0 + position * steps), state.double()), dim=1)
    return _at(network, capacitors is not None, (position, state, gain))


def _at(
    network: Network, with_capacitors: bool, moved: tuple[Tensor, Tensor, Tensor]
) -> TappedMaps:
    """The maps at taps, capacitors and gains that fit."""
    base, taps, gain = network.maps, network.taps, moved[2]
    if isinstance(base, SparseMaps):
        assert isinstance(taps, SparseTaps)
        thin = taps.wanted(with_capacitors)
        return SparseTappedMaps(base, thin, *moved, thin.answer(gain))
    assert isinstance(taps, DenseTapMaps)
    static = taps if with_capacitors else taps.regulators_alone
    return DenseTappedMaps(base, static, *moved, static.answer(gain))


def _shape_faults(
    network: Network, lead: torch.Size, given: Tensor | None, count: int, name: str, axis: str
) -> list[str]:
    if given is None:
        return []
    faults = []
    if given.shape not in ((*lead, count), (count,)):
        faults.append(
            f"{name} has shape {tuple(given.shape)}, expected [{count}] or "
            f"{[*lead, count]}, one value for each {axis}"
        )
    if given.dtype.is_floating_point or given.dtype.is_complex:
        faults.append(f"{name} has dtype {given.dtype}, expected whole numbers")
    if given.device != network.device:
        faults.append(f"{name} is on {given.device}, the network on {network.device}")
    return faults


def _range_faults(network: Network, taps: Tensor) -> list[str]:
    """One phrase per regulator with a tap beyond its range or one that cannot move."""
    r = network.feeder.regulators
    if not len(r) or not len(taps):
        return []
    low, high = (part.tolist() for part in torch.aminmax(taps, dim=0))
    moving = set(network.feeder.controls.adjustable.element.tolist())
    faults = []
    for k, name in enumerate(r.control):
        if low[k] < r.tap_min[k] or high[k] > r.tap_max[k]:
            faults.append(
                f"tap of {name} goes from {low[k]} to {high[k]}, expected "
                f"{r.tap_min[k]} to {r.tap_max[k]}"
            )
        elif k not in moving and not low[k] == high[k] == r.tap[k]:
            faults.append(
                f"tap of {name} cannot move from {r.tap[k]}: {_why(network, k)}; "
                "read the feeder at the taps wanted"
            )
    return faults


def _why(network: Network, k: int) -> str:
    held = network.feeder.controls.regulator.held
    return held[k] if held else "the feeder does not say how its admittance follows"
