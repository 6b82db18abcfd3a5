"""Names of the device types, in the order of the agents, and what limits them all."""

from __future__ import annotations

from typing import Literal

FIRST_KINDS = ("battery", "heat_pump", "generator")
"""Device types of the published task."""

MORE_KINDS = ("ev_charger", "pv_inverter")
"""Device types that a task has only if it asks for them."""

KINDS = FIRST_KINDS + MORE_KINDS
"""All device types."""

OWN_KINDS = {"storage": "battery", "generator": "generator", "pvsystem": "pv_inverter"}
"""Device type of a circuit's own element in an agent's hands, by OpenDSS's class."""

HandOver = Literal["all", "battery", "generator", "pv_inverter"]
"""What of the circuit's own a task can hand over to agents: a device type, or all."""

MAX_KVAR_PER_KW = 0.44
"""Reactive power of an inverter at most, per kW: IEEE 1547's category B. One of 1.1 kVA
per kW has room for it at full power: 0.44 is below sqrt(1.1 ** 2 - 1)."""
