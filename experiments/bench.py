"""`gradmap bench`: speed of the power flow, of environment and learning."""

from __future__ import annotations

import dataclasses
import pathlib
import platform
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gradmap.experiments.arguments import parse
from gradmap.experiments.files import write_json
from gradmap.experiments.terminal import console
from gradmap.feeders.errors import GradmapError

if TYPE_CHECKING:
    from gradmap.experiments.bench_power_flow import Section
    from gradmap.feeders.model import Feeder

DESCRIPTION = """\
Times the power flow and its gradient against OpenDSS, then both against the
size of the feeder, then the environment and the learners. Contenders take turns
(engines on the same scenarios, to the same accuracy), and medians over the
rounds are printed, as other work on the machine disturbs single figures. Last
come layouts of RLlib, where it is installed."""

_ROUNDS, _QUICK_ROUNDS = 21, 3


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments of `gradmap bench`.

    Attributes:
        threads: Threads of torch; OpenDSS uses one.
        json: File to write the report to.
        quick: Few rounds: figures within some ten percent; and without what
            takes minutes, RLlib's own layouts at 1,000 agents.
    """

    threads: int = 1
    json: pathlib.Path | None = None
    quick: bool = False


def run(command: str, words: Sequence[str]) -> int:
    """Runs the benchmark.

    Args:
        command: `bench`.
        words: What follows it.

    Returns:
        0.

    Raises:
        GradmapError: If an option cannot be used.
    """
    arguments = parse(Arguments, words, "gradmap bench", DESCRIPTION)
    if arguments.threads < 1:
        raise GradmapError(f"gradmap bench: --threads is {arguments.threads}, expected at least 1")
    # Here, not above: help and faults on the command line need no torch.
    import torch

    from gradmap.experiments.registry import RLLIB
    from gradmap.feeders.catalog import load_feeder

    torch.set_num_threads(arguments.threads)
    output = console()
    feeder = load_feeder("ieee123")
    rounds = _QUICK_ROUNDS if arguments.quick else _ROUNDS
    sections = _sections()
    report: dict[str, Any] = {"machine": _machine(arguments.threads), "rounds": rounds}
    for number, make in enumerate(sections, start=1):
        with output.status(f"section {number} of {len(sections)}"):
            section = make(feeder, rounds)
        output.print(section.table)
        report[section.name] = section.data
    if not RLLIB.is_installed():
        output.print(
            "RLlib layouts: left out; RLlib is not installed: pip install 'gradmap[rllib]'"
        )
    ratio = report["power_flow"]["ratio"]
    output.print(
        f"complex64 at a batch of 1,024: {ratio:.1f} times the solves per second of the fastest "
        f"loop, {report['power_flow']['opendss']}; {arguments.threads} thread(s)"
    )
    if arguments.json is not None:
        write_json(arguments.json, report)
    return 0


def _sections() -> tuple[Callable[[Feeder, int], Section], ...]:
    """What is timed, in order; each takes the feeder and the number of rounds."""
    from gradmap.experiments.bench_feeders import feeders_section
    from gradmap.experiments.bench_learning import environment_section, learning_section
    from gradmap.experiments.bench_power_flow import gradient_section, power_flow_section
    from gradmap.experiments.registry import RLLIB

    ours = (
        power_flow_section,
        gradient_section,
        feeders_section,
        environment_section,
        learning_section,
    )
    if not RLLIB.is_installed():
        return ours
    from gradmap.experiments.bench_marl import marl_section

    return *ours, marl_section


def _machine(threads: int) -> dict[str, Any]:
    import torch

    return {
        "processor": _processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": threads,
    }


def _processor() -> str:
    """The processor's name; `platform` knows none on Linux."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    try:
        sys.exit(run("bench", sys.argv[1:]))
    except GradmapError as error:
        print(f"gradmap: error: {error}", file=sys.stderr)
        sys.exit(2)
