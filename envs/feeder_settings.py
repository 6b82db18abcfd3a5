"""Settings of the task of a bundled feeder, kept beside its circuit."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
from typing import Any, Literal

from gradmap.feeders.catalog import list_feeders


@dataclasses.dataclass(frozen=True)
class FeederSettings:
    """What a task of a bundled feeder is made with, so that it binds and can be solved.

    Attributes:
        difficulty: Rated power of all devices over peak load.
        regulation: As in `TaskConfig`.
        taps: Outcome of `day_taps` for the feeder with these settings.
        vmin_pu: Lower voltage limit, p.u.
        vmax_pu: Upper voltage limit, p.u.
        base_load_scale: As in `ScenarioConfig`.
        why: Why these, where they are not the usual ones.
        found_by: The command that shows that they do.
    """

    difficulty: float
    regulation: Literal["fixed", "quasi-static"]
    taps: dict[str, int]
    vmin_pu: float
    vmax_pu: float
    base_load_scale: float
    why: str
    found_by: str


def feeder_settings(name: str) -> FeederSettings | None:
    """Reads the settings of a feeder's task, `task.json` beside its circuit.

    Args:
        name: What names the feeder.

    Returns:
        The settings; None if the feeder is not a bundled one, or has none.
    """
    file = importlib.resources.files("gradmap.feeders") / "data" / name / "task.json"
    if name not in list_feeders() or not file.is_file():
        return None
    values: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return FeederSettings(**values)
