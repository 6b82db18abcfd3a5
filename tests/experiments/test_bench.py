"""The benchmark runs, and its engines agree; how fast they are is not for a test."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from gradmap.experiments import bench, bench_feeders, bench_learning, bench_power_flow
from gradmap.experiments.bench_timing import Rates
from gradmap.experiments.registry import Extra
from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.dss_loop import OpenDSSLoop
from gradmap.feeders.dss_replay import OpenDSSReplay
from gradmap.feeders.errors import GradmapError


def test_rates_are_of_the_amount_done():
    rates = Rates({"slow": (lambda: time.sleep(0.01), 3), "half": (lambda: time.sleep(0.02), 3)}, 2)
    assert 100 < rates.median("slow") < 300
    assert rates.ratio("slow", "half") == pytest.approx(2, rel=0.5)


def test_loops_over_opendss_are_opendss():
    feeder = load_feeder("ieee123")
    factor = np.random.default_rng(1).uniform(0.5, 1.5, (5, len(feeder.terminals)))
    p_kw, q_kvar = feeder.terminals.p_kw * factor, feeder.terminals.q_kvar * factor
    with OpenDSSReplay(feeder, devices=False) as replay:
        expected = [np.abs(replay.solve(p, q).v_pu) for p, q in zip(p_kw, q_kvar, strict=True)]
    with OpenDSSLoop(feeder, tolerance_pu=1e-9) as loop:
        for run in (loop.by_batch, loop.by_element):
            volts = np.zeros((5, feeder.num_nodes))
            run(p_kw, q_kvar, volts)
            np.testing.assert_allclose(loop.in_order(volts), expected, atol=1e-8)


def test_report_holds_every_figure(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench_power_flow, "_BATCHES", (1, 1024))
    monkeypatch.setattr(bench_power_flow, "_GRADIENT_BATCHES", (8,))
    monkeypatch.setattr(bench, "_QUICK_ROUNDS", 1)
    monkeypatch.setattr(bench_feeders, "_SIZES", (20,))
    monkeypatch.setattr(bench_learning, "_NUM_AGENTS", 20)
    monkeypatch.setattr(bench_learning, "_BATCHES", (2,))
    monkeypatch.setattr(bench_learning, "_DAYS_PER_BATCH", (2,))
    monkeypatch.setattr(Extra, "is_installed", lambda extra: False)
    path = tmp_path / "bench.json"
    assert bench.run("bench", ["--quick", "--json", str(path)]) == 0
    report = json.loads(path.read_text("utf-8"))
    assert report["power_flow"]["ratio"] > 0
    rows = report["power_flow"]["rows"]
    assert len(rows) == 6
    assert all(row["error_pu"] <= 1e-6 and row["solves_per_s"] > 0 for row in rows)
    assert [row["dtype"] for row in report["gradient"]["rows"]] == ["complex64", "complex128"]
    feeders = report["feeders"]["rows"]
    assert [row["method"] for row in feeders] == ["dense", "sparse"]
    assert all(row["buses"] == 20 and row["gradient_s"] > 0 for row in feeders)
    assert all(row["bytes_per_scenario"] > 0 for row in feeders)
    (environment,) = report["environment"]["rows"]
    assert report["environment"]["num_agents"] == 20
    assert environment["solve_ms"] > 0
    assert environment["steps_per_s"] > 0
    (learning,) = report["learning"]["rows"]
    assert learning["gradmap_iteration_s"] > learning["reuse_s"] > learning["reuse_networks_s"] > 0
    printed = capsys.readouterr().out
    assert "times the solves per second" in printed
    assert "RLlib layouts: left out" in printed
    assert "rllib" not in report


def test_threads_must_be_positive():
    with pytest.raises(GradmapError, match="--threads is 0"):
        bench.run("bench", ["--threads", "0"])
