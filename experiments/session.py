"""One session of a run in this process: a new run, or a run continued."""

from __future__ import annotations

import contextlib
import pathlib
from typing import Any

from gradmap.experiments.assembly import Assembly, assemble
from gradmap.experiments.config import RunConfig
from gradmap.experiments.config_load import differences, own_values
from gradmap.experiments.files import write_yaml
from gradmap.experiments.manifest import describe_session, resources_used
from gradmap.experiments.progress import Reporter, describe, duration, reporter
from gradmap.experiments.runs import RunFolder, check_vacant
from gradmap.experiments.signals import EXIT_CODE, StopRequest
from gradmap.experiments.train import Training
from gradmap.feeders.errors import GradmapError

FREE = ("budget.", "threads", "device", "checkpoint_seconds")
"""Settings that may change when a run is resumed."""


def start_run(config: RunConfig, out: pathlib.Path, command: str) -> int:
    """Trains a new run.

    Args:
        config: The run.
        out: Its folder, which must not exist or be empty.
        command: The command line, for the manifest.

    Returns:
        0, or 130 if it was asked to stop.

    Raises:
        GradmapError: If the run cannot be built; nothing is written then.
    """
    check_vacant(out)
    with contextlib.closing(assemble(config)) as assembly:
        folder = RunFolder.create(out, config, _describe(assembly, command))
        with folder.locked():
            return _train(Training(folder, assembly))


def resume_run(path: pathlib.Path, config: RunConfig, command: str) -> int:
    """Continues a run.

    Args:
        path: Its folder.
        config: Its configuration; budget, threads and device may be new.
        command: The command line, for the manifest.

    Returns:
        0, or 130 if it was asked to stop.

    Raises:
        GradmapError: If another setting is new, the run is in use, or its
            checkpoint cannot be used; nothing is written then.
    """
    folder = RunFolder.open(path)
    old, new = (each.model_dump(mode="json") for each in (folder.config, config))
    fixed = [name for name in differences(old, new) if not name.startswith(FREE)]
    if fixed:
        raise GradmapError(f"--resume cannot change {', '.join(fixed)}; start a new run for that")
    with folder.locked(), contextlib.closing(assemble(config)) as assembly:
        folder.config = config
        training = Training(folder, assembly)
        training.restore()
        if training.is_finished():
            if folder.status != "finished":  # it was killed on its last line
                folder.end_session("finished")
            print(f"{path} is finished; give it a larger --budget.seconds to train on")
            return 0
        folder.start_session(_describe(assembly, command))
        write_yaml(folder.path / "config.yaml", own_values(config))
        return _train(training)


def _describe(assembly: Assembly, command: str) -> dict[str, Any]:
    return describe_session(command, assembly.config.threads, str(assembly.core.device))


def _train(training: Training) -> int:
    """Runs the loop, closes the session whatever happens, and says how to go on."""
    folder, position = training.folder, training.position
    shown = reporter(training.run.config.method)
    status = "failed"
    try:
        with StopRequest() as stop:
            is_done = training.loop(stop, shown)
        status = "finished" if is_done else "interrupted"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        shown.close()
        folder.end_session(
            status,
            iteration=position.iteration,
            seconds=position.seconds,
            **resources_used(training.run.core.device.type),
        )
    return _say_end(training, shown, status)


def _say_end(training: Training, shown: Reporter, status: str) -> int:
    path, position = training.folder.path, training.position
    what = f"{position.iteration} iterations in {duration(position.seconds)}"
    if status == "interrupted":
        shown.say(f"stopped after {what}; continue with: gradmap train --resume {path}")
        return EXIT_CODE
    shown.say(f"finished, {what}; saved in {path}")
    best = [
        row
        for row in training.folder.rows("validation")
        if row["iteration"] == position.best_iteration
    ]
    if best:
        found = describe(best[-1]["metrics"])
        shown.say(f"best on {training.split} days at iteration {position.best_iteration}: {found}")
    shown.say(f"judge it with: gradmap evaluate {path}")
    return 0
