"""`gradmap export OUT DEST`."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from tyro.conf import Positional

from gradmap.experiments.arguments import parse

DESCRIPTION = """\
Keeps the best policies of a finished comparison as small files, from which
`gradmap compare --from-checkpoints DEST` draws its table again. Each is rounded
as far as leaves its figures on the days of the table as they are."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments of `gradmap export`.

    Attributes:
        out: Folder of the comparison.
        dest: Folder for the files; an earlier export in it is replaced.
    """

    out: Positional[pathlib.Path]
    dest: Positional[pathlib.Path]


def run(command: str, words: Sequence[str]) -> int:
    """Exports a comparison.

    Args:
        command: `export`.
        words: What follows it.

    Returns:
        0, also where runs are left out that are not done.

    Raises:
        GradmapError: If there is nothing to export, or no place for it.
    """
    arguments = parse(Arguments, words, "gradmap export", DESCRIPTION)
    # Here, not above: help and faults on the command line need no torch.
    from gradmap.experiments.policy_files import export_comparison

    for left_out in export_comparison(arguments.out, arguments.dest):
        print(f"left out: {left_out.method}, seed {left_out.seed}: {left_out.status}")
    size = sum(file.stat().st_size for file in arguments.dest.rglob("*") if file.is_file())
    print(f"{size / 2**20:.1f} MiB in {arguments.dest}")
    return 0
