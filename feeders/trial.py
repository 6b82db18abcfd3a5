"""What a circuit's file may take while a process of its own tries to read it."""

from __future__ import annotations

import dataclasses

from gradmap.feeders.errors import raise_faults


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a circuit may take while it is tried.

    Attributes:
        timeout_s: Time from start to end, s.
        memory_gib: Memory of the process, GiB; where the platform can limit
            it, which Windows and macOS cannot.
    """

    timeout_s: float = 300.0
    memory_gib: float = 4.0

    def __post_init__(self) -> None:
        """Refuses limits that nothing could keep."""
        values: dict[str, object] = {"timeout_s": self.timeout_s, "memory_gib": self.memory_gib}
        raise_faults(
            "Trial",
            [
                f"{name} is {value!r}, expected a number above 0"
                for name, value in values.items()
                if not isinstance(value, int | float) or not 0 < value < 1e6
            ],
        )
