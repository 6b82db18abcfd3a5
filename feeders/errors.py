"""The error that a user's input raises."""

from __future__ import annotations

from collections.abc import Sequence


class GradmapError(ValueError):
    """Input that cannot be used: what was found, what was expected, what to do.

    The command line prints the message as one line and exits with 2.
    """


def raise_faults(subject: str, faults: Sequence[str]) -> None:
    """Raises one error that names every fault found.

    Args:
        subject: What was checked, such as a file's path.
        faults: One phrase per fault; none means that nothing is raised.

    Raises:
        GradmapError: If there is any fault.
    """
    if faults:
        raise GradmapError(f"{subject}: " + "; ".join(faults))
