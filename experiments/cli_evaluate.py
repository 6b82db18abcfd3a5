"""`gradmap evaluate RUN`."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from gradmap.experiments.arguments import parse
from gradmap.experiments.config import Split
from gradmap.experiments.config_files import merge, validate
from gradmap.experiments.files import write_json
from gradmap.experiments.runs import RunFolder

if TYPE_CHECKING:
    from gradmap.experiments.evaluate import Engine

DESCRIPTION = """\
Judges the policy of a run on days it has not seen, and keeps the judgement in
the run's folder."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments of `gradmap evaluate`.

    Attributes:
        run: Folder of the run.
        split: Days to judge on: those of the task, or its test days under a
            stress.
        engine: Whose voltages and currents to judge. OpenDSS replays, step by
            step, the powers that the agents drew.
        checkpoint: Which state: the best on validation days, or the latest.
        json: File to write the judgement to.
        device: `auto` (the GPU when there is one), `cpu` or `cuda`.
        threads: Threads of torch.
    """

    run: Positional[pathlib.Path]
    split: Split = "test"
    engine: Literal["torch", "opendss", "both"] = "torch"
    checkpoint: Literal["best", "latest"] = "best"
    json: pathlib.Path | None = None
    device: str = "auto"
    threads: int | None = None


def run(command: str, words: Sequence[str]) -> int:
    """Judges a run.

    Args:
        command: `evaluate`.
        words: What follows it.
    """
    arguments = parse(Arguments, words, "gradmap evaluate", DESCRIPTION)
    folder = RunFolder.open(arguments.run)
    known = folder.config.model_dump(mode="json")
    changes = {"device": arguments.device, "threads": arguments.threads or folder.config.threads}
    folder.config = validate(type(folder.config), merge(known, changes), known, "gradmap evaluate")
    # Here, not above: help and faults on the command line need no torch.
    from gradmap.experiments.judgement import judge_run, keep, show

    engines: list[Engine] = ["torch", "opendss"]
    if arguments.engine != "both":
        engines = [arguments.engine]
    judgement = judge_run(folder, arguments.split, engines, arguments.checkpoint)
    kept = keep(folder, judgement)
    show(judgement)
    if arguments.json is not None:
        write_json(arguments.json, judgement)
    print(f"kept in {arguments.json or kept}")
    return 0
