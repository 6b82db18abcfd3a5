"""Names of the device types, in the order of the agents."""

from __future__ import annotations

FIRST_KINDS = ("battery", "heat_pump", "generator")
"""Device types of the published task."""

MORE_KINDS = ("ev_charger", "pv_inverter")
"""Device types that a task has only if it asks for them."""

KINDS = FIRST_KINDS + MORE_KINDS
"""All device types."""
