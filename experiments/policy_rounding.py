"""Policies in as few bits as leave the figures of their judgement as they are.

A float32 is kept in two arrays: `NAME`, its exponent, a byte, and `NAME.bits`,
its sign and the first bits of its fraction, eight values to a byte. With all
23 bits of the fraction it is exact. Actions are in [-1, 1], and kept as whole
numbers, 16384 for 1, rounded to fewer bits; or as floats where that is not
enough. Days and other whole numbers stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gradmap.experiments.assembly import Assembly
from gradmap.experiments.evaluate import Evaluation, evaluate
from gradmap.experiments.frozen import ACTIONS, KIND, RULES, Tensors, frozen_policy
from gradmap.experiments.judgement import number
from gradmap.experiments.summary import intervals

Arrays = dict[str, npt.NDArray[Any]]
Bytes = npt.NDArray[np.uint8]

EXACT = 23
"""Bits of the fraction of a float32."""

BITS = (7, 8, 9, 10, 12, 16, EXACT)
"""Bits of the fraction that are tried, in this order."""

ACTION_BITS = (8, 10, 12, 14)
"""Bits after the point that are tried for actions, before floats."""

SHOWN = (
    "cost_usd_per_day",
    "node_step_violation_pct",
    "step_violation_pct",
    "violation_max_pu",
    "thermal_overload_step_pct",
    "discomfort_kh",
    "losses_kwh_per_day",
)
"""Quantities that stay as they are, to the digits that tables show."""

_WITH_INTERVAL = ("cost_usd_per_day", "node_step_violation_pct")

_ONE_BITS = 14
_ONE = 1 << _ONE_BITS
_SIGN_AND_FRACTION = ".bits"


def pack(values: torch.Tensor, bits: int = EXACT) -> tuple[Bytes, Bytes]:
    """Rounds floats, and takes them apart so that they compress well.

    Args:
        values: Floats, taken as float32. `[...]`
        bits: Bits of the fraction to keep, 1 to 23.

    Returns:
        Exponents, `[...]`, and rows of bits, eight values to a byte: the sign,
        then the fraction from the top. `[1 + bits, ceil(values / 8)]`
    """
    single = np.ascontiguousarray(values.detach().cpu().float().numpy()).reshape(-1)
    # Wide, as rounding may carry out of the fraction into the exponent.
    whole = single.view(np.uint32).astype(np.uint64)
    cut = EXACT - bits
    whole += np.uint64((1 << cut) >> 1)
    places = [31, *range(EXACT - 1, cut - 1, -1)]
    rows = np.stack([(whole >> np.uint64(place)) & np.uint64(1) for place in places])
    exponent = ((whole >> np.uint64(EXACT)) & np.uint64(0xFF)).astype(np.uint8)
    return exponent.reshape(values.shape), np.packbits(rows.astype(bool), axis=1)


def unpack(exponent: Bytes, rows: Bytes) -> torch.Tensor:
    """Puts together what `pack` has taken apart.

    Args:
        exponent: Exponents. `[...]`
        rows: Rows of bits. `[1 + bits, ceil(values / 8)]`

    Returns:
        The values, float32. `[...]`

    Raises:
        ValueError: If the arrays are not of each other.
    """
    if (
        exponent.dtype != np.uint8
        or rows.dtype != np.uint8
        or rows.ndim != 2
        or rows.shape[1] != -(-exponent.size // 8)
        or not 2 <= len(rows) <= EXACT + 1
    ):
        raise ValueError(f"floats of shape {exponent.shape} with bits of shape {rows.shape}")
    bit = np.unpackbits(rows, axis=1, count=exponent.size).astype(np.uint32)
    whole = exponent.reshape(-1).astype(np.uint32) << EXACT | bit[0] << 31
    for place, row in zip(range(EXACT - 1, -1, -1), bit[1:], strict=False):
        whole |= row << place
    return torch.from_numpy(whole.view(np.float32).reshape(exponent.shape))


def unpack_all(arrays: Mapping[str, npt.NDArray[Any]]) -> Tensors:
    """Tensors that kept arrays stand for.

    Args:
        arrays: Arrays by name, from `fewest_bits`.

    Raises:
        ValueError: If they cannot be such arrays.
    """
    tensors: Tensors = {}
    for name, array in arrays.items():
        rows = arrays.get(name + _SIGN_AND_FRACTION)
        if rows is not None:
            tensors[name] = unpack(array, rows)
        elif array.dtype == np.int16:
            tensors[name] = torch.from_numpy(array).float() / _ONE
        elif array.dtype == np.int64:
            tensors[name] = torch.from_numpy(array)
        elif not name.endswith(_SIGN_AND_FRACTION):
            raise ValueError(f"{name} is {array.dtype}, expected int16 or int64")
    return tensors


def fewest_bits(
    run: Assembly,
    tensors: Tensors,
    meta: Mapping[str, Any],
    days: torch.Tensor,
    judgement: Mapping[str, Any],
) -> tuple[Arrays, str, bool]:
    """Rounds a policy as far as its figures stay what the tables show.

    Args:
        run: Its run.
        tensors: The policy, from `frozen.freeze`.
        meta: What was kept beside them.
        days: Days that it was judged on. `[day]`
        judgement: What was found on them.

    Returns:
        What to keep; in how many bits, in words; and whether the figures are
        as they were. They may not be, with all bits, where the judgement was
        made by other code or on another machine.
    """
    was = _shown(judgement)
    for arrays, words in _roundings(tensors, meta[KIND]):
        if meta[KIND] == RULES:
            return arrays, words, True
        policy = frozen_policy(run.core, unpack_all(arrays), meta)
        found = evaluate(run.core, policy, days, run.config.evaluation_batch)
        is_same = _shown(as_judgement(found)) == was
        if is_same:
            break
    return arrays, words, is_same


def as_judgement(found: Evaluation) -> dict[str, Any]:
    """An evaluation by the torch power flow in the shape of a judgement.

    Args:
        found: The evaluation.

    Returns:
        `dates`, and of `engines` the one.
    """
    by_day = {name: values.tolist() for name, values in found.by_day.items()}
    torch_found = {"metrics": found.metrics, "by_day": by_day}
    return {"dates": list(found.dates), "engines": {"torch": torch_found}}


def _shown(judgement: Mapping[str, Any]) -> dict[str, str]:
    """What the tables show of a judgement, ends of intervals over its days among it."""
    metrics = judgement["engines"]["torch"]["metrics"]
    found = intervals([judgement])
    ends = {f"{k}_{end}": found[f"{k}_{end}"] for k in _WITH_INTERVAL for end in ("low", "high")}
    return {name: number(value) for name, value in ({k: metrics[k] for k in SHOWN} | ends).items()}


def _roundings(tensors: Tensors, kind: str) -> Iterator[tuple[Arrays, str]]:
    """Ways to keep a policy, the smallest first and the exact one last."""
    floats = {name: value for name, value in tensors.items() if value.is_floating_point()}
    whole = {name: value.cpu().numpy() for name, value in tensors.items() if name not in floats}
    if kind == RULES:
        yield {**whole, **_packed(floats, EXACT)}, "its configuration is all"
        return
    for bits in ACTION_BITS if kind == ACTIONS else ():
        step = 2.0**-bits
        fixed = {name: torch.round(value / step) * step * _ONE for name, value in floats.items()}
        counts = {name: value.to(torch.int16).cpu().numpy() for name, value in fixed.items()}
        yield {**whole, **counts}, f"{bits} bits after the point"
    for bits in BITS:
        yield {**whole, **_packed(floats, bits)}, f"{bits} of {EXACT} bits"


def _packed(floats: Tensors, bits: int) -> Arrays:
    arrays: Arrays = {}
    for name, value in floats.items():
        arrays[name], arrays[name + _SIGN_AND_FRACTION] = pack(value, bits)
    return arrays
