"""Seconds and memory of loading and solving against the size of a feeder.

Synthetic feeders, a device beside every load terminal, complex128. Each case
runs in a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import pathlib
import statistics
import time
from typing import Any

import torch
from rich import box
from rich.table import Table

from gradmap.experiments.bench_power_flow import Section
from gradmap.feeders.model import Feeder
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import solve_power_flow
from gradmap.feeders.synthetic_feeder import synthetic

BATCH = 64

_SIZES = (100, 300, 1000, 3000, 10_000)
_DENSE_BUSES = 1000  # what lies above takes minutes and gigabytes to set up
_REPEATS = 3
_SEED = 0


def feeders_section(feeder: Feeder, num_rounds: int) -> Section:
    """Times load, set-up, solve and gradient by size and method.

    Args:
        feeder: Left aside: feeders are synthetic.
        num_rounds: Rounds of timing; a third of them at most, and no more
            than three.

    Returns:
        The section.
    """
    repeats = max(1, min(_REPEATS, num_rounds // 3))
    threads = torch.get_num_threads()
    rows = []
    for buses in _SIZES:
        for method in ("dense", "sparse"):
            if method == "sparse" or buses <= _DENSE_BUSES:
                rows.append(_alone(buses, method, repeats, threads))
    return Section(name="feeders", table=_table(rows), data={"batch": BATCH, "rows": rows})


def _alone(buses: int, method: str, repeats: int, threads: int) -> dict[str, Any]:
    """Runs a case in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, buses, method, repeats, threads).result()


def measure(buses: int, method: str, repeats: int, threads: int) -> dict[str, Any]:
    """Measures one case in this process.

    Args:
        buses: Buses of the feeder.
        method: `dense` or `sparse`.
        repeats: Solves timed, of which the median counts.
        threads: Threads of torch.

    Returns:
        Sizes, seconds and bytes; `peak_bytes` is how far the process's memory
        rose while it set the network up and solved, `None` where the system
        does not say.
    """
    torch.set_num_threads(threads)
    begin = time.perf_counter()
    feeder = synthetic(buses, _SEED)
    loaded, before = time.perf_counter(), _memory("VmRSS")
    network = Network.from_feeder(feeder, devices=True, method=method)
    built = time.perf_counter()
    solves = [_solve(network) for _ in range(repeats + 1)][1:]
    peak = _memory("VmHWM")
    return {
        "buses": buses,
        "nodes": network.num_nodes,
        "ports": network.num_ports,
        "method": method,
        "load_s": loaded - begin,
        "set_up_s": built - loaded,
        "solve_s": statistics.median(solve for solve, _, _ in solves),
        "gradient_s": statistics.median(gradient for _, gradient, _ in solves),
        "iterations": solves[0][2],
        "matrix_bytes": network.bytes_of_matrices,
        "bytes_per_scenario": network.bytes_per_scenario,
        "peak_bytes": None if peak is None or before is None else peak - before,
    }


def _solve(network: Network) -> tuple[float, float, int]:
    """Seconds of a batch, and of its gradient from all voltages and the losses."""
    generator = torch.Generator().manual_seed(_SEED)
    share = 0.5 + torch.rand(2, BATCH, network.num_terminals, generator=generator).double()
    p = (network.p_nominal_kw * share[0]).requires_grad_()
    q = (network.q_nominal_kvar * share[1]).requires_grad_()
    begin = time.perf_counter()
    flow = solve_power_flow(network, p, q)
    total = flow.v_magnitude_pu.sum() + flow.losses_kw.sum()
    solved = time.perf_counter()
    torch.autograd.grad(total, (p, q))
    assert bool(flow.converged.all())
    return solved - begin, time.perf_counter() - solved, int(flow.iterations.max())


def _memory(key: str) -> int | None:
    """Bytes of this process's memory; Linux alone says."""
    try:
        text = pathlib.Path("/proc/self/status").read_text("utf-8")
    except OSError:
        return None
    found = [line.split() for line in text.splitlines() if line.startswith(f"{key}:")]
    return 1024 * int(found[0][1]) if found else None


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        title=f"size of a feeder: synthetic, a device beside every load, complex128, a batch of "
        f"{BATCH} with its gradient",
        title_justify="left",
        box=box.SIMPLE,
        caption="a scenario: powers, voltages and currents that a solution keeps; peak: what "
        f"set-up and batch add to the process. Dense above {_DENSE_BUSES:,} buses is left out",
    )
    for heading in ("buses", "nodes", "ports", "method", "load s", "set-up s", "solve s"):
        table.add_column(heading, justify="left" if heading == "method" else "right", no_wrap=True)
    for heading in ("gradient s", "matrices MB", "kB a scenario", "peak MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        peak = row["peak_bytes"]
        table.add_row(
            *(f"{row[name]:,}" for name in ("buses", "nodes", "ports")),
            row["method"],
            f"{row['load_s']:.2f}",
            f"{row['set_up_s']:.2f}",
            f"{row['solve_s']:.3f}",
            f"{row['gradient_s']:.3f}",
            f"{row['matrix_bytes'] / 1e6:,.1f}",
            f"{row['bytes_per_scenario'] / 1e3:,.1f}",
            "-" if peak is None else f"{peak / 1e6:,.0f}",
        )
    return table
