"""The process in which a circuit is tried: see `dss_trial`.

Reads a request as JSON from its standard input, reads the circuit, and writes
the answer as JSON to its standard output. What OpenDSS is at lies in a file,
which stays if the process does not.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from gradmap.feeders.dss import read_feeder
from gradmap.feeders.dss_journal import Journal
from gradmap.feeders.errors import GradmapError

_FILE_BYTES = 2**28  # OpenDSS may write to the folder that goes with the trial, but not fill a disk
_MEMORY_WORDS = ("out of memory", "failed to allocate", "bad_alloc", "eoutofmemory")


class FileJournal(Journal):
    """Writes what OpenDSS is at to a file, in place of what it was at before.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - open as long as the process

    def begins(self, what: str) -> None:
        """Notes what OpenDSS is about to do, before it does.

        Args:
            what: What it is.
        """
        self._file.seek(0)
        self._file.write(what.encode(errors="replace") + b"\n")


def limit(memory_bytes: int, cpu_s: int) -> None:
    """Limits what this process may take, where the platform can.

    Args:
        memory_bytes: Its memory.
        cpu_s: Its time on a processor, should nobody be left to end it, s.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    wanted = {
        "RLIMIT_AS": memory_bytes,
        "RLIMIT_CPU": cpu_s,
        "RLIMIT_FSIZE": _FILE_BYTES,
        "RLIMIT_CORE": 0,
    }
    for name, value in wanted.items():
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS knows some by name alone
            resource.setrlimit(which, (least, least))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Reads the circuit.

    Args:
        request: `path`, `taps`, `on_unsupported`, `progress`, `memory_bytes`
            and `cpu_s`.

    Returns:
        `files` with their stamps if it could be read; `fault` if it is at
        fault; and `is_memory` if memory was wanting.
    """
    limit(request["memory_bytes"], request["cpu_s"])
    journal = FileJournal(request["progress"])
    try:
        read_feeder(
            request["path"],
            taps=request["taps"],
            on_unsupported=request["on_unsupported"],
            trial=False,
            journal=journal,
        )
    except GradmapError as error:
        said = str(error).lower()
        return {"fault": str(error), "is_memory": any(word in said for word in _MEMORY_WORDS)}
    except MemoryError:
        return {"is_memory": True}
    except Exception as error:
        # No harm that a process has to be kept from: the reader meets it again, with its traceback.
        return {"is_memory": any(word in str(error).lower() for word in _MEMORY_WORDS)}
    return {"files": journal.files}


@contextlib.contextmanager
def own_output() -> Iterator[int]:
    """Keeps standard output for the answer: whatever OpenDSS prints goes nowhere.

    Yields:
        A descriptor of the output.
    """
    output = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    yield output


def main() -> None:
    """Answers the request on the standard input."""
    request = json.loads(sys.stdin.buffer.read())
    with own_output() as output:
        said = json.dumps(answer(request)).encode()
        with open(output, "wb") as file:
            file.write(said)
    # Whatever OpenDSS has broken, it is not asked to clean up: the folder goes with the trial.
    os._exit(0)


if __name__ == "__main__":
    main()
