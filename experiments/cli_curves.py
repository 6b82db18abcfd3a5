"""`gradmap curves FOLDER ...`."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tyro.conf import Positional

from gradmap.experiments.arguments import parse
from gradmap.experiments.files import write_text
from gradmap.experiments.terminal import console
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.files import replacing

if TYPE_CHECKING:
    from gradmap.experiments.curves import Learning

DESCRIPTION = """\
Draws the seeds of a comparison together: learning curves on validation days,
and a table of the figures on test days with intervals. Seeds that are not
there, or not finished, are left out and named."""

PAGE = "marl.md"
"""The page of the documentation that has a place for each folder."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments of `gradmap curves`.

    Attributes:
        folders: Folders of comparisons. Figure and tables are written into
            them.
        docs: Folder of the documentation to fill as well: the figure goes to
            its figures/ and the table into marl.md, by the folder's name.
    """

    folders: Positional[tuple[pathlib.Path, ...]]
    docs: pathlib.Path | None = None


def run(command: str, words: Sequence[str]) -> int:
    """Draws seeds together.

    Args:
        command: `curves`.
        words: What follows it.

    Returns:
        0, also where seeds are missing.

    Raises:
        GradmapError: If a folder has no figures.
    """
    arguments = parse(Arguments, words, "gradmap curves", DESCRIPTION)
    if not arguments.folders:
        raise GradmapError("gradmap curves: give one or more folders of `gradmap compare`")
    # Here, not above: help and faults on the command line need neither torch nor a plot.
    from gradmap.experiments.curves import read_learning
    from gradmap.experiments.curves_report import markdown, write_curves
    from gradmap.experiments.plot_learning import learning_curves

    for folder in arguments.folders:
        found = read_learning(folder)
        write_curves(found, folder)
        picture = learning_curves(found, folder / "curves.png")
        console().print(markdown(found), markup=False, soft_wrap=True)
        if arguments.docs is not None:
            _fill_docs(arguments.docs, folder.resolve().name, found, picture)
        print(f"figure and tables in {folder}")
    return 0


def _fill_docs(docs: pathlib.Path, name: str, found: Learning, picture: pathlib.Path) -> None:
    """Puts a folder's figure and table into the documentation, by the folder's name."""
    from gradmap.experiments.curves_report import markdown
    from gradmap.experiments.readme import fill

    page = docs / PAGE
    if not page.is_file():
        raise GradmapError(f"no page at {page}; run this in the repository's root")
    block = (
        f"![Learning curves, {found.report.task_line()}](figures/{name}.png)\n\n{markdown(found)}"
    )
    text = fill(page.read_text("utf-8"), {name: block})
    (docs / "figures").mkdir(exist_ok=True)
    with replacing(docs / "figures" / f"{name}.png") as aside:
        shutil.copyfile(picture, aside)
    write_text(page, text)
