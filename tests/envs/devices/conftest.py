"""Fleets of each type, in both precisions, and what surrounds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gradmap.envs.devices.base import Surroundings
from gradmap.envs.devices.battery import make_batteries
from gradmap.envs.devices.ev_charger import make_ev_chargers
from gradmap.envs.devices.generator import make_generators
from gradmap.envs.devices.heat_pump import make_heat_pumps
from gradmap.envs.devices.pv_inverter import make_pv_inverters

KINDS = ("battery", "heat_pump", "generator", "ev_charger", "pv_inverter")

MakeFleet = Callable[..., Any]
Surround = Callable[..., Surroundings]


@pytest.fixture(scope="session")
def make_fleet() -> MakeFleet:
    """Draws a fleet of a kind; parameters in `dtype`."""

    def make(kind: str, num: int = 5, dtype: torch.dtype = torch.float32) -> Any:
        generator = torch.Generator().manual_seed(7)
        makers = {
            "battery": lambda: make_batteries(num, 12.0, generator),
            "heat_pump": lambda: make_heat_pumps(num, 5.0, 2.0, generator),
            "generator": lambda: make_generators(num, 8.0, generator),
            "ev_charger": lambda: make_ev_chargers(num, 7.0, 1.5, generator),
            "pv_inverter": lambda: make_pv_inverters(num, 6.0, generator),
        }
        fleet = makers[kind]()
        names = [field.name for field in dataclasses.fields(fleet)]
        tensors = {
            name: value.to(dtype)
            for name in names
            if isinstance(value := getattr(fleet, name), Tensor)
        }
        return dataclasses.replace(fleet, **tensors)

    return make


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def surround() -> Surround:
    """Surroundings of one step."""

    def make(
        tariff: float = 0.2,
        temp: float = 5.0,
        *,
        refill: float = 0.1,
        dt: float = 0.5,
        is_last: bool = False,
        hour: float = 7.0,
        sun: float = 0.6,
        dtype: torch.dtype = torch.float32,
    ) -> Surroundings:
        return Surroundings(
            torch.tensor([[tariff]], dtype=dtype),
            torch.tensor([[temp]], dtype=dtype),
            refill,
            dt,
            is_last,
            torch.tensor([[hour]], dtype=dtype),
            torch.tensor([[sun]], dtype=dtype),
        )

    return make
