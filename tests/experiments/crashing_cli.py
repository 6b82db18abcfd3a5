"""The command `gradmap`, in which one method raises and the process of another dies."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

import gradmap.experiments.registry as registry
from gradmap.experiments.cli import main


def raises(*_: object) -> NoReturn:
    raise RuntimeError("out of luck")


def dies(*_: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


if __name__ == "__main__":
    for name, builder in (("selfish", raises), ("idle", dies)):
        object.__setattr__(registry.METHODS[name], "builder", builder)
    sys.exit(main())
