"""A feeder in figures: what is counted, how far buses are, and what is warned of."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.circuit_facts import distances_km, read_facts
from gradmap.feeders.describe import describe_feeder
from gradmap.feeders.dss import read_feeder


def test_ieee37_in_figures(golden_of):
    d, golden = describe_feeder(load_feeder("ieee37")), golden_of("ieee37").summary
    assert d.sizes == {
        "buses": 39,
        "nodes": 117,
        "loads": 30,
        "terminals": 32,
        "branches": 40,
        "regulators": 2,
    }
    assert d.elements == {
        "vsource": 1,
        "line": 36,
        "transformer": 4,
        "regcontrol": 2,
        "load": 30,
    }
    assert d.buses_by_kv == {"230": 1, "4.8": 37, "0.48": 1}
    assert (d.load_kw, d.load_kvar, d.generation_kw) == (2457.0, 1201.0, 0.0)
    assert d.delta_kw == d.load_kw
    assert sum(d.kw_by_law.values()) == pytest.approx(d.load_kw)
    assert set(d.kw_by_law) == {"constant power", "constant impedance", "cvr"}
    assert d.ratings_a["line"] == (135.0, 550.0)
    assert [r["tap"] for r in d.regulators] == [16, 14]
    assert d.nominal is not None
    assert d.nominal.v_min_pu == pytest.approx(golden["v_min_pu"], abs=1e-6)
    assert d.nominal.source_kw == pytest.approx(golden["source_kw"], rel=1e-5)
    assert d.nominal.max_loading_branch == "transformer.subxf"
    assert any("regulator (creg1a)" in warning for warning in d.warnings)
    assert any("transformer.subxf (135 %)" in warning for warning in d.warnings)
    # Cables are 18 thousand feet in all.
    assert d.length_km == pytest.approx(18.0 * 0.3048, abs=0.01)
    json.dumps(d.to_dict(), allow_nan=False)


def test_distances_follow_the_lines(ieee123):
    facts = read_facts(ieee123)
    km = dict(zip(ieee123.bus_names, distances_km(ieee123, facts), strict=True))
    assert km["150"] == km["150r"] == km["149"] == 0.0  # a regulator and a switch
    assert km["1"] == pytest.approx(0.4 * 0.3048)
    assert km["7"] == pytest.approx((0.4 + 0.3) * 0.3048)
    assert km["52"] == pytest.approx((0.4 + 0.3 + 0.2 + 0.3 + 0.4) * 0.3048)
    assert facts.has_units
    assert facts.counts["capacitor"] == 4
    assert facts.capacitor_kvar == 750.0


def test_what_is_warned_of(write_circuit):
    # No coordinates, no units, default ratings, a voltage too low, a load out of its range.
    body = """
New Line.l2 Bus1=b.1 Bus2=c.1 Phases=1 R1=0.4 X1=0.4 R0=0.4 X0=0.4 C1=0 C0=0 Length=1
New Load.x Bus1=c.1 Phases=1 kV=0.23 kW=20 kvar=8 Vminpu=0.95
Edit LineCode.four NormAmps=400
Edit Line.l1 NormAmps=400
"""
    feeder = read_feeder(write_circuit(body))
    d = describe_feeder(feeder)
    said = "; ".join(d.warnings)
    assert "no bus has coordinates" in said
    assert "without units" in said
    assert "rated 400 A, which is OpenDSS's default" in said
    assert "outside 0.95 to 1.05 p.u." in said
    assert "1 of 1 terminals have a voltage outside their law's range" in said
    assert "above its rating" not in said


def test_generation_is_no_load(write_circuit):
    body = (
        "New Load.x Bus1=b.1 Phases=1 kV=0.23 kW=10 kvar=4\n"
        "New Generator.g Bus1=b.2 Phases=1 kV=0.23 kW=6 kvar=0 Model=1\n"
    )
    d = describe_feeder(read_feeder(write_circuit(body)))
    assert d.sizes["loads"] == 1
    assert d.sizes["terminals"] == 2
    assert d.load_kw == pytest.approx(10.0)
    assert d.generation_kw == pytest.approx(6.0)


def test_a_bus_that_no_link_leads_to_has_no_distance(ieee123):
    facts = read_facts(ieee123)
    cut = tuple(link for link in facts.links if "52" not in (link.one, link.other))
    km = distances_km(ieee123, dataclasses.replace(facts, links=cut))
    far = dict(zip(ieee123.bus_names, km, strict=True))
    assert np.isnan(far["52"])
    assert np.isnan(far["56"])  # beyond it
    assert np.isfinite(far["13"])
