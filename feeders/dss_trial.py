"""A circuit read in a process of its own first, which may crash, hang or run out of memory.

OpenDSS 0.14 writes past the end of its memory on some plain mistakes in a
circuit's file and loops for ever on others. Whoever reads a file cannot be
sure of their own process then. So the file is read in another one before, and
here only if that one came through.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradmap.feeders.dss_engine import find_master
from gradmap.feeders.dss_journal import Journal, Stamp, stamp
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.trial import Trial

_MODULE = "gradmap.feeders.dss_trial_child"
_PROGRESS = "progress.txt"
_SHOWN = 400

# What each circuit that came through was made of, by its master file.
_known: dict[str, dict[str, Stamp | None]] = {}


def try_circuit(
    path: str | pathlib.Path,
    trial: Trial | bool = True,
    *,
    taps: object = None,
    on_unsupported: str = "freeze",
) -> None:
    """Reads a circuit in a process of its own, unless it came through before.

    Args:
        path: The circuit's master file.
        trial: What it may take; `True` stands for `Trial()`, `False` for no
            trial at all.
        taps: As for `read_feeder`.
        on_unsupported: As for `read_feeder`.

    Raises:
        GradmapError: If there is no such file; if OpenDSS crashes on it, takes
            too long or too much memory, with the command it was at; or if the
            circuit cannot be read.
    """
    if trial is False:
        return
    limits = Trial() if trial is True else trial
    if not isinstance(limits, Trial):
        raise GradmapError(f"trial is {trial!r}, expected True, False or a Trial")
    master = find_master(path)
    if is_known(master):
        return
    request = {
        "path": str(master),
        "taps": _plain(taps),
        "on_unsupported": on_unsupported,
        "memory_bytes": int(limits.memory_gib * 2**30),
        "cpu_s": int(limits.timeout_s) + 10,
    }
    answer = _ask(str(path), request, limits)
    if "fault" in answer:
        raise GradmapError(answer["fault"])
    if "files" in answer:
        _known[str(master)] = {file: _as_stamp(value) for file, value in answer["files"].items()}


def is_known(master: pathlib.Path) -> bool:
    """Whether a circuit came through before and none of its files has changed since.

    Args:
        master: Its master file, absolute, links followed.
    """
    files = _known.get(str(master))
    return files is not None and all(stamp(file) == value for file, value in files.items())


def remember(path: str | pathlib.Path, journal: Journal) -> None:
    """Keeps that a circuit came through, here.

    Args:
        path: Its master file.
        journal: What was read of it.
    """
    _known[str(find_master(path))] = dict(journal.files)


def _plain(taps: object) -> Any:
    """Taps as JSON has them; nothing where they are none, of which the reader tells."""
    whole = (int, np.integer)
    if isinstance(taps, Mapping):
        fits = all(isinstance(tap, whole) and isinstance(c, str) for c, tap in taps.items())
        return {control: int(tap) for control, tap in taps.items()} if fits else None
    return int(taps) if isinstance(taps, whole) and not isinstance(taps, bool) else None


def _as_stamp(value: list[int] | None) -> Stamp | None:
    return None if value is None else (value[0], value[1], value[2])


def _ask(subject: str, request: dict[str, Any], limits: Trial) -> dict[str, Any]:
    """Runs the child on a request and returns its answer."""
    if not sys.executable or getattr(sys, "frozen", False):
        raise GradmapError(
            f"{subject}: cannot be tried first, for no Python can be started here; "
            "trial=False reads it at once, if you trust it"
        )
    with tempfile.TemporaryDirectory(prefix="gradmap-trial-", ignore_cleanup_errors=True) as folder:
        progress = pathlib.Path(folder) / _PROGRESS
        try:
            done = subprocess.run(
                # -P: nothing beside the circuit's file is taken for a module.
                [sys.executable, "-P", "-m", _MODULE],
                input=json.dumps({**request, "progress": str(progress)}).encode(),
                capture_output=True,
                timeout=limits.timeout_s,
                cwd=folder,
                env=_environment(folder),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise GradmapError(
                f"{subject}: OpenDSS was not done after {limits.timeout_s:g} s{_at(progress)}; "
                "mend that, or give it longer: trial=Trial(timeout_s=...)"
            ) from None
        except OSError as error:
            raise GradmapError(
                f"{subject}: cannot be tried first, for {sys.executable} does not start: "
                f"{error.strerror}; trial=False reads it at once, if you trust it"
            ) from None
        return _answer(subject, done, limits, _at(progress))


def _answer(
    subject: str, done: subprocess.CompletedProcess[bytes], limits: Trial, at: str
) -> dict[str, Any]:
    """What the child says, or what its end means."""
    if done.returncode == 0 and done.stdout:
        answer: dict[str, Any] = json.loads(done.stdout)
        if answer.get("is_memory"):
            raise GradmapError(
                f"{subject}: OpenDSS asked for more than {limits.memory_gib:g} GiB of memory{at}; "
                "mend that, or give it more: trial=Trial(memory_gib=...)"
            )
        return answer
    if at or done.returncode < 0:
        raise GradmapError(
            f"{subject}: OpenDSS crashed ({_ending(done.returncode)}){at}: it does that on "
            f"mistakes in a circuit's file, and where {limits.memory_gib:g} GiB of memory are not "
            "enough (trial=Trial(memory_gib=...)); look at that command and those before it"
        )
    said = " ".join(done.stderr.decode(errors="replace").split())[-_SHOWN:]
    raise GradmapError(
        f"{subject}: the process that was to try it ended with code {done.returncode}: {said}; "
        "trial=False reads it at once, if you trust it"
    )


def _ending(code: int) -> str:
    """How a process ended, in words."""
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"


def _at(progress: pathlib.Path) -> str:
    """What OpenDSS was at, as the child noted it last."""
    try:
        text = progress.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
    except OSError:
        return ""
    return f" at {text}" if text else ""


def _environment(folder: str) -> dict[str, str]:
    """The child's environment: the same modules, one thread, a folder of its own."""
    here = [os.path.abspath(entry) for entry in sys.path if entry]
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # What the child leaves behind goes with the folder.
    own = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder)
    return {**os.environ, **one, **own, "PYTHONPATH": os.pathsep.join(here)}
