"""`gradmap tune METHOD [METHOD ...]`."""

from __future__ import annotations

import dataclasses
import pathlib
import shlex
from collections.abc import Sequence
from typing import Annotated

from tyro.conf import arg

from gradmap.experiments.arguments import parse
from gradmap.experiments.ray_engine import check_ray
from gradmap.experiments.signals import EXIT_CODE
from gradmap.experiments.tune_plan import SearchConfig, pick_methods

DESCRIPTION = """\
Searches the settings of each METHOD (or of `all`) with Ray Tune: as many trials
for every method, each on one core for the same budget, judged on validation
days alone. The first trial is the method's defaults. Trials that are over are
kept, so that a search that was stopped, or is made longer, goes on."""

FAILED_CODE = 1
"""Exit code where no trial of a method is done."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments of `gradmap tune`.

    Attributes:
        out: Folder of the search.
        retry_failed: Whether trials that have failed are tried again.
        publish: Whether to put the tables among the repository's own, in
            `experiments/tuning/`; trains nothing that is over.
        table: Fill the page from the tables in `experiments/tuning/`, and do
            nothing else; takes no METHOD.
        page: The page.
        ray_address: Ray cluster to join, such as `auto`; none for what
            RAY_ADDRESS says, or else for this machine.
        settings: The search.
    """

    out: pathlib.Path = pathlib.Path("results/tune")
    retry_failed: bool = False
    publish: bool = False
    table: bool = False
    page: pathlib.Path = pathlib.Path("docs/tuning.md")
    ray_address: str | None = None
    settings: Annotated[SearchConfig, arg(name="")] = SearchConfig()


def run(command: str, words: Sequence[str]) -> int:
    """Searches the settings of methods.

    Args:
        command: `tune`.
        words: What follows it.

    Returns:
        0; 1 if no trial of a method is done; 130 if it was asked to stop.
    """
    num = next((k for k, word in enumerate(words) if word.startswith("-")), len(words))
    names, options = words[:num], words[num:]
    arguments = parse(Arguments, options, "gradmap tune METHOD", DESCRIPTION, Arguments())
    # Here, not above: help and faults on the command line need no torch.
    from gradmap.experiments import tune_report

    if arguments.table:
        return tune_report.fill_page(arguments.page)
    methods = pick_methods(names)
    check_ray("gradmap tune")
    if arguments.publish:
        tune_report.check_checkout()
    from gradmap.experiments.tune import Search, run_search

    search = Search(arguments.settings, methods, arguments.out)
    if arguments.retry_failed:
        search.retry_failed()
    if not run_search(search, arguments.ray_address):
        line = shlex.join(["gradmap", command, *words])
        print(f"stopped; what is done is kept in {arguments.out}; continue with: {line}")
        return EXIT_CODE
    found = {method: search.outcomes(method) for method in methods}
    print(tune_report.summary([tune_report.read_trials(arguments.out / m) for m in methods]))
    if arguments.publish:
        tune_report.publish(arguments.out, methods)
    print(f"tables and best settings in {arguments.out}")
    is_whole = all(any(each.status == "done" for each in own) for own in found.values())
    return 0 if is_whole else FAILED_CODE
