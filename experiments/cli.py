"""The command `gradmap`.

Each subcommand lies in a module of its own and is loaded when it is called,
so that `gradmap --help` loads neither torch nor the parser.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from gradmap import __version__
from gradmap.feeders.errors import GradmapError

COMMANDS = {
    "train": ("cli_train", "train one method"),
    "evaluate": ("cli_evaluate", "judge a trained run on days it has not seen"),
    "compare": ("cli_compare", "train and judge several methods on equal terms"),
    "tune": ("cli_tune", "search the settings of methods, as many trials for each"),
    "export": ("cli_export", "keep a comparison's policies as small files"),
    "curves": ("cli_curves", "draw the seeds of a comparison together"),
    "task": ("cli_task", "check whether a task binds and can be solved"),
    "validate": ("cli_validate", "hold the power flow to OpenDSS"),
    "bench": ("bench", "time the power flow and its gradient beside OpenDSS"),
    "methods": ("cli_lists", "list the methods"),
    "feeders": ("cli_lists", "list the feeders"),
    "feeder": ("cli_feeder", "describe or draw a feeder"),
}
"""Every subcommand: its module, and what it does."""

USAGE_CODE = 2
"""Exit code where the user's input cannot be used."""


def usage() -> str:
    """The text of `gradmap --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        (
            "usage: gradmap COMMAND ...",
            "",
            "Train and compare methods for many devices on a three-phase feeder.",
            "",
            "commands:",
            *lines,
            "",
            "`gradmap COMMAND --help` lists the options of a command;",
            "`gradmap --version` prints the version.",
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: What follows `gradmap`; those of the process if None.

    Returns:
        The exit code: 0, or what the command says; 2 if the input cannot be
        used; 130 if it was interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(words)
    except GradmapError as error:
        print(f"gradmap: error: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE_CODE
    except KeyboardInterrupt:
        print("gradmap: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `gradmap ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except SystemExit as error:  # help was printed
        return error.code if isinstance(error.code, int) else 0


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else USAGE_CODE
    if words[0] in ("-V", "--version", "version"):
        print(f"gradmap {__version__}")
        return 0
    command = words[0]
    if command not in COMMANDS:
        raise GradmapError(f"unknown command {command}; expected one of {', '.join(COMMANDS)}")
    module = importlib.import_module(f"gradmap.experiments.{COMMANDS[command][0]}")
    code: int = module.run(command, words[1:])
    return code


if __name__ == "__main__":
    sys.exit(main())
