"""What the tests of the feeders share: the feeder, its golden values, small circuits."""

from __future__ import annotations

import csv
import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gradmap.feeders import dss_trial
from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.dss_engine import borrow_engine, compile_circuit, return_engine
from gradmap.feeders.model import Feeder
from gradmap.feeders.powerflow.network import Network
from gradmap.feeders.powerflow.solve import solve_power_flow

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"

# A source, a transformer into a low-voltage bus with a neutral, a line out of it.
_HEAD = """
Clear
New Circuit.small Bus1=head.1.2.3 BasekV=12.47 pu={pu} R1=0.5 X1=2 R0=0.4 X0=1.5
New Transformer.t1 Phases=3 Windings=2 XHL=4 %LoadLoss=1
~ Wdg=1 Bus=head.1.2.3 Conn=Delta kV=12.47 kVA=500
~ Wdg=2 Bus=a.1.2.3.4 Conn=Wye kV=0.4 kVA=500
New Reactor.neutral Phases=1 Bus1=a.4 Bus2=a.0 R=0.01 X=0
New LineCode.four NPhases=4 BaseFreq=60 Units=km NormAmps=200
~ RMatrix=[0.3 | 0.05 0.3 | 0.05 0.05 0.3 | 0.05 0.05 0.05 0.3]
~ XMatrix=[0.5 | 0.2 0.5 | 0.2 0.2 0.5 | 0.2 0.2 0.2 0.5]
~ CMatrix=[10 | -2 10 | -2 -2 10 | -2 -2 -2 10]
New Line.l1 Phases=4 Bus1=a.1.2.3.4 Bus2=b.1.2.3.4 LineCode=four Length=0.1 Units=km
"""
_TAIL = """
Set VoltageBases=[12.47 0.4]
CalcVoltageBases
"""

WriteCircuit = Callable[..., pathlib.Path]


@pytest.fixture(scope="module", autouse=True)
def trust_circuits(request: pytest.FixtureRequest) -> Iterator[None]:
    """Reads the tests' circuits at once: to try each in a process first would take minutes.

    A module with `TRIES_CIRCUITS = True` has it as users have.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "TRIES_CIRCUITS", False):
            patch.setattr(dss_trial, "is_known", lambda master: True)
        yield


@dataclasses.dataclass(frozen=True)
class Golden:
    v_pu: dict[str, complex]
    summary: dict[str, Any]


@pytest.fixture(scope="session")
def ieee123() -> Feeder:
    return load_feeder("ieee123")


@pytest.fixture(scope="session")
def golden() -> Golden:
    return read_golden("ieee123")


@pytest.fixture(scope="session")
def golden_of() -> Callable[[str], Golden]:
    """Golden values by the feeder's name."""
    return read_golden


@pytest.fixture(scope="session", name="read_voltages")
def read_voltages_fixture() -> Callable[[pathlib.Path], dict[str, complex]]:
    """Reads a table of node, v_pu and angle_deg."""
    return read_voltages


@pytest.fixture(scope="session")
def golden_folder() -> pathlib.Path:
    """Where the golden values of all feeders lie."""
    return GOLDEN


def read_golden(name: str) -> Golden:
    folder = GOLDEN / name
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return Golden(read_voltages(folder / "solution.csv"), summary)


def read_voltages(path: pathlib.Path) -> dict[str, complex]:
    """Reads a table of node, v_pu and angle_deg."""
    with open(path, newline="", encoding="utf-8") as file:
        return {
            row["node"]: complex(
                float(row["v_pu"]) * np.exp(1j * np.deg2rad(float(row["angle_deg"])))
            )
            for row in csv.DictReader(file)
        }


def opendss_voltages(path: pathlib.Path, feeder: Feeder) -> np.ndarray:
    """OpenDSS's own solution of a circuit with its own elements, p.u. `[node]`"""
    engine = borrow_engine()
    try:
        compile_circuit(engine, path)
        circuit = engine.ActiveCircuit
        # A floating winding's voltage to ground is settled to 1e-10 at best.
        for tolerance in (1e-12, 1e-10):
            engine.Text.Command = f"Set Tolerance={tolerance} MaxIterations=5000"
            circuit.Solution.Solve()
            if circuit.Solution.Converged:
                break
        assert circuit.Solution.Converged
        names = [str(name).lower() for name in circuit.YNodeOrder]
        volts = np.asarray(circuit.YNodeVarray).view(np.complex128)
        found = dict(zip(names, volts, strict=True))
    finally:
        return_engine(engine)
    ordered = np.array([found[name] for name in feeder.node_names])
    return ordered / feeder.node_kv_base / 1e3


def our_voltages(feeder: Feeder) -> np.ndarray:
    """Our solution at the feeder's own powers, p.u. `[node]`"""
    network = Network.from_feeder(feeder)
    flow = solve_power_flow(
        network,
        network.p_nominal_kw,
        network.q_nominal_kvar,
        tolerance_pu=1e-10,
        max_iterations=1000,
    )
    assert bool(flow.converged)
    return flow.v_pu.numpy()


@pytest.fixture
def solve_ours() -> Callable[[Feeder], np.ndarray]:
    """Our solution at the feeder's own powers, p.u. `[node]`"""
    return our_voltages


@pytest.fixture
def read_and_compare() -> Callable[..., Feeder]:
    """Reads a circuit and holds our solution to OpenDSS's; returns the feeder."""

    def compare(path: pathlib.Path, **options: Any) -> Feeder:
        feeder = Feeder.from_dss(path, **options)
        error = np.abs(our_voltages(feeder) - opendss_voltages(path, feeder))
        worst = int(error.argmax())
        assert error[worst] < 1e-6, (feeder.node_names[worst], error[worst])
        return feeder

    return compare


@pytest.fixture
def write_circuit(tmp_path: pathlib.Path) -> WriteCircuit:
    """Writes a small circuit with the elements given; returns its master file."""

    def write(body: str, *, pu: float = 1.0, tail: str = _TAIL) -> pathlib.Path:
        path = tmp_path / "Small.dss"
        path.write_text(_HEAD.format(pu=pu) + body + tail, encoding="utf-8")
        return path

    return write
