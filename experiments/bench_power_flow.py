"""Speed of the power flow and its gradient, beside OpenDSS on the same scenarios."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rich import box
from rich.table import Table

from gradmap.experiments.bench_timing import Contender, Rates
from gradmap.feeders.dss_loop import OpenDSSLoop
from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import Feeder, FloatArray
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import solve_power_flow

ERROR_LIMIT_PU = 1e-6
"""Each engine runs at the loosest tolerance at which it stays within this."""

HEADLINE_BATCH = 1024

_TOLERANCES_PU = (1e-4, 3e-5, 1e-5, 5e-6, 3e-6, 2e-6, 1e-6, 3e-7, 1e-7)
_BATCHES = (1, 8, 64, HEADLINE_BATCH, 8192)
_GRADIENT_BATCHES = (8, 16, 32, 1152)
_DTYPES = {"complex64": torch.complex64, "complex128": torch.complex128}
_OPENDSS_CALL = 128  # scenarios in one call of an OpenDSS loop
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes:
        name: Key in the JSON file.
        table: What is printed.
        data: What is written.
    """

    name: str
    table: Table
    data: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class _Scenarios:
    """Loads redrawn from half to one and a half times the nominal, P and Q apart."""

    p_kw: FloatArray
    q_kvar: FloatArray
    v_pu: FloatArray  # magnitudes by OpenDSS at a tolerance of 1e-10


def power_flow_section(feeder: Feeder, num_rounds: int) -> Section:
    """Times solves per second, all node voltage magnitudes included.

    Args:
        feeder: The feeder.
        num_rounds: Rounds of timing.

    Returns:
        The section; `data["ratio"]` is the headline, ours in single precision
        at a batch of 1,024 over the fastest OpenDSS loop.

    Raises:
        GradmapError: If an engine cannot keep to `ERROR_LIMIT_PU`.
    """
    scenarios = _draw(feeder, max(_BATCHES))
    contenders: dict[str, Contender] = {}
    facts: dict[str, dict[str, Any]] = {}
    loop, tolerance, error = _opendss(feeder, scenarios)
    for label, run in (("batch calls", loop.by_batch), ("element by element", loop.by_element)):
        name = f"OpenDSS, {label}"
        contenders[name] = _loop_call(run, scenarios)
        facts[name] = {"engine": name, "batch": 1, "tolerance_pu": tolerance, "error_pu": error}
    for dtype_name, dtype in _DTYPES.items():
        network = Network.from_feeder(feeder, dtype=dtype)
        tolerance, error = _our_tolerance(network, scenarios)
        engine = f"gradmap, {dtype_name}"
        for batch in _BATCHES:
            name = f"{engine}, {batch}"
            contenders[name] = _forward(network, scenarios, batch, tolerance), batch
            facts[name] = {
                "engine": engine,
                "batch": batch,
                "tolerance_pu": tolerance,
                "error_pu": error,
            }
    rates = Rates(contenders, num_rounds)
    loop.close()
    fastest = max(list(contenders)[:2], key=rates.median)
    rows = [
        facts[name]
        | {"solves_per_s": rates.median(name), "ratio_to_opendss": rates.ratio(name, fastest)}
        for name in contenders
    ]
    headline = rates.ratio(f"gradmap, complex64, {HEADLINE_BATCH}", fastest)
    return Section(
        name="power_flow",
        table=_power_flow_table(feeder, rows),
        data={"ratio": headline, "opendss": fastest, "rows": rows},
    )


def gradient_section(feeder: Feeder, num_rounds: int) -> Section:
    """Times a solve with its gradient, with a device beside every load.

    Forward is the solve and all node voltage magnitudes; backward starts at
    these and ends at P and Q of all terminals.

    Args:
        feeder: The feeder.
        num_rounds: Rounds of timing.

    Returns:
        The section.
    """
    contenders: dict[str, Contender] = {}
    for dtype_name, dtype in _DTYPES.items():
        network = Network.from_feeder(feeder, devices=True, dtype=dtype)
        for batch in _GRADIENT_BATCHES:
            for kind in ("forward", "both"):
                call = _with_devices(network, batch, backward=kind == "both")
                contenders[f"{dtype_name}, {batch}, {kind}"] = (call, 1)
    rates = Rates(contenders, num_rounds)
    rows = []
    for dtype_name in _DTYPES:
        for batch in _GRADIENT_BATCHES:
            forward, both = (
                1e3 / rates.median(f"{dtype_name}, {batch}, {kind}") for kind in ("forward", "both")
            )
            rows.append(
                {
                    "dtype": dtype_name,
                    "batch": batch,
                    "forward_ms": forward,
                    "forward_backward_ms": both,
                    "gradients_per_s": 1e3 * batch / both,
                }
            )
    return Section(name="gradient", table=_gradient_table(feeder, rows), data={"rows": rows})


def _draw(feeder: Feeder, count: int) -> _Scenarios:
    generator = np.random.default_rng(_SEED)
    terminals = feeder.terminals
    shape = (count, len(terminals))
    p_kw = terminals.p_kw * generator.uniform(0.5, 1.5, shape)
    q_kvar = terminals.q_kvar * generator.uniform(0.5, 1.5, shape)
    v_pu = np.empty((count, feeder.num_nodes))
    with OpenDSSReplay(feeder, devices=False, tolerance_pu=1e-10) as replay:
        for k in range(count):
            v_pu[k] = np.abs(replay.solve(p_kw[k], q_kvar[k]).v_pu)
    return _Scenarios(p_kw, q_kvar, v_pu)


def _opendss(feeder: Feeder, scenarios: _Scenarios) -> tuple[OpenDSSLoop, float, float]:
    """The loop at the loosest tolerance that is exact enough, and its error."""
    count = HEADLINE_BATCH
    volts = np.empty((count, feeder.num_nodes))
    for tolerance in _TOLERANCES_PU:
        loop = OpenDSSLoop(feeder, tolerance_pu=tolerance)
        loop.by_batch(scenarios.p_kw[:count], scenarios.q_kvar[:count], volts)
        error = float(np.abs(loop.in_order(volts) - scenarios.v_pu[:count]).max())
        if error <= ERROR_LIMIT_PU:
            return loop, tolerance, error
        loop.close()
    raise GradmapError(f"OpenDSS misses its own solution by {error:g} p.u. at {tolerance:g}")


def _loop_call(
    run: Callable[[FloatArray, FloatArray, FloatArray], None], scenarios: _Scenarios
) -> Contender:
    p_kw, q_kvar = scenarios.p_kw[:_OPENDSS_CALL], scenarios.q_kvar[:_OPENDSS_CALL]
    volts = np.empty((len(p_kw), scenarios.v_pu.shape[1]))
    return lambda: run(p_kw, q_kvar, volts), len(p_kw)


def _our_tolerance(network: Network, scenarios: _Scenarios) -> tuple[float, float]:
    for tolerance in _TOLERANCES_PU:
        found = _forward(network, scenarios, len(scenarios.p_kw), tolerance)()
        error = float(np.abs(found.double().numpy() - scenarios.v_pu).max())
        if error <= ERROR_LIMIT_PU:
            return tolerance, error
    raise GradmapError(
        f"the power flow is {error:g} p.u. off OpenDSS, expected {ERROR_LIMIT_PU:g} at most; "
        "run `gradmap validate`"
    )


def _forward(
    network: Network, scenarios: _Scenarios, batch: int, tolerance_pu: float
) -> Callable[[], torch.Tensor]:
    p, q = (
        torch.from_numpy(x[:batch]).to(network.real_dtype)
        for x in (scenarios.p_kw, scenarios.q_kvar)
    )

    @torch.no_grad()
    def call() -> torch.Tensor:
        return solve_power_flow(network, p, q, tolerance_pu=tolerance_pu).v_magnitude_pu

    return call


def _with_devices(network: Network, batch: int, backward: bool) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(_SEED)
    shape = (batch, network.num_terminals)
    p = network.p_nominal_kw * (0.5 + torch.rand(shape, generator=generator))
    q = network.q_nominal_kvar * (0.5 + torch.rand(shape, generator=generator))
    p[:, network.num_load_terminals :] = 20.0 * torch.rand(shape, generator=generator)[:, 95:] - 10
    p, q = p.to(network.real_dtype), q.to(network.real_dtype)
    weight = torch.ones(batch, network.num_nodes, dtype=network.real_dtype)
    p.requires_grad_(backward)
    q.requires_grad_(backward)

    def call() -> None:
        v_pu = solve_power_flow(network, p, q).v_magnitude_pu
        if backward:
            torch.autograd.grad(v_pu, (p, q), weight)

    return call


def _power_flow_table(feeder: Feeder, rows: list[dict[str, Any]]) -> Table:
    table = Table(
        title=f"power flow, {feeder.name}: all {len(feeder.terminals)} load terminals redrawn, "
        f"all {feeder.num_nodes} node voltages read",
        title_justify="left",
        box=box.SIMPLE,
        caption="tolerance: the loosest at which every voltage is within 1e-6 p.u. of OpenDSS at "
        "1e-10; rates and ratios: medians over interleaved rounds",
    )
    table.add_column("engine", no_wrap=True)
    for heading in ("batch", "tolerance", "error p.u.", "solves/s", "over OpenDSS"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["engine"],
            f"{row['batch']:,}",
            f"{row['tolerance_pu']:.0e}",
            f"{row['error_pu']:.1e}",
            f"{row['solves_per_s']:,.0f}",
            f"{row['ratio_to_opendss']:.2f}",
        )
    return table


def _gradient_table(feeder: Feeder, rows: list[dict[str, Any]]) -> Table:
    table = Table(
        title=f"power flow and gradient, {feeder.name}: a device beside each of "
        f"{len(feeder.terminals)} load terminals, default tolerance",
        title_justify="left",
        box=box.SIMPLE,
    )
    table.add_column("dtype", no_wrap=True)
    for heading in ("batch", "forward ms", "forward + backward ms", "gradients/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["dtype"],
            f"{row['batch']:,}",
            f"{row['forward_ms']:.2f}",
            f"{row['forward_backward_ms']:.2f}",
            f"{row['gradients_per_s']:,.0f}",
        )
    return table
