"""The plots of a comparison."""

from __future__ import annotations

import pathlib

from gradmap.envs.scenarios.stress import STRESSES
from gradmap.envs.task_feeder import load_task_feeder
from gradmap.experiments.compare_table import Report
from gradmap.experiments.config_load import has_seeds, run_configs
from gradmap.experiments.judged import judged_dates, judged_runs
from gradmap.experiments.plot_multipliers import multiplier_map
from gradmap.experiments.plot_profiles import improvement_bars, performance_profiles
from gradmap.experiments.plot_stress import stress_figure
from gradmap.experiments.plot_tradeoff import tradeoff
from gradmap.experiments.plot_training import training_curves
from gradmap.experiments.plot_voltages import voltage_envelopes
from gradmap.experiments.registry import METHODS
from gradmap.experiments.results import Results, RunResult


def draw_all(report: Report, results: Results, out: pathlib.Path) -> list[pathlib.Path]:
    """Draws what there are figures for: of the first seed, where a plot shows one run.

    Args:
        report: The tables of a task.
        results: The comparison.
        out: Folder.

    Returns:
        The files.
    """
    done = {run.method: run for run in reversed(results.runs) if _is_shown(run, report.task)}
    done = {method: done[method] for method in results.methods if method in done}
    file = f"evaluation/{results.config.split}-best.npz"
    voltages = {name: run.folder / file for name, run in done.items()}
    curves = {name: run.validation() for name, run in done.items() if has_seeds(METHODS[name])}
    files = []
    if curves:
        files.append(training_curves(curves, out / "training.png"))
    if any(row["cost_usd_per_day"] is not None for row in report.rows):
        files.append(tradeoff(report.rows, out / "cost_and_violation.png"))
    configs = run_configs(results.config)
    task = next(run.task for key, run in configs.items() if key.task == report.task)
    feeder = load_task_feeder(task)
    shown: dict[str, pathlib.Path] = {
        name: voltages[name] for name in ("selfish", "gradmap") if name in voltages
    }
    if shown:
        limits = (task.vmin_pu, task.vmax_pu)
        files.append(voltage_envelopes(shown, feeder, limits, out / "voltages.png"))
    if "gradmap" in voltages:
        files.append(multiplier_map(voltages["gradmap"], feeder, out / "multipliers.png"))
    return files + _draw_statistics(results, report.task, out)


def _draw_statistics(results: Results, task: str, out: pathlib.Path) -> list[pathlib.Path]:
    """Draws what compares runs day by day."""
    split = results.config.split
    judged = [m for m in results.methods if judged_runs(results, task, m, split)]
    real = [method for method in judged if not METHODS[method].is_reference]
    files = []
    if real:
        files.append(performance_profiles(results, task, out / "profiles.png", split))
    if "gradmap" in real and len(real) > 1:
        files.append(improvement_bars(results, task, out / "improvement.png", split=split))
    if any(judged_dates(results, task, stress) for stress in STRESSES):
        files.append(stress_figure(results, task, out / "stress.png"))
    return files


def _is_shown(run: RunResult, task: str) -> bool:
    return run.task == task and run.status == "done"
