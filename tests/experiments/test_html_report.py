"""The HTML report as a file: whole, safe, small, and there when parts are missing."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import pathlib
import re
import types
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from gradmap.experiments.html_grid import grid_data
from gradmap.experiments.html_pack import choose_days, pack, unpack
from gradmap.experiments.html_payload import payload
from gradmap.experiments.html_report import as_script_json, write_html
from gradmap.feeders.catalog import load_feeder
from gradmap.feeders.model import Feeder

MAX_BYTES = 3e6


class Outline(HTMLParser):
    """Elements, their attributes, and what stands in scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style", "title"):
            self.texts.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append(("", {}))

    def handle_data(self, data: str) -> None:
        if self.texts and self.elements[-1][0] == self.texts[-1][0]:
            tag, before = self.texts[-1]
            self.texts[-1] = (tag, before + data)


@pytest.fixture(scope="module")
def feeder() -> Feeder:
    return load_feeder("ieee123", None)


def written(results: Any, out: pathlib.Path) -> tuple[str, dict[str, Any]]:
    text = write_html(results, out).read_text("utf-8")
    scripts = [content for tag, content in Outline(text).texts if tag == "script"]
    found: dict[str, Any] = json.loads(scripts[0])
    return text, found


def test_the_file_is_whole_and_small(
    fake_results: types.ModuleType, tmp_path: pathlib.Path
) -> None:
    results = fake_results.make_results(
        tmp_path, fake_results.ALL, seeds=3, splits=("test", "cold-snap", "offline")
    )
    text, found = written(results, tmp_path)
    assert len(text.encode()) < MAX_BYTES
    assert not re.search(r"@[A-Z]+@", text)
    (task,) = found["tasks"]
    assert [method["name"] for method in task["methods"]] == list(fake_results.ALL)
    assert {len(task["curves"][name]) for name in ("gradmap", "ippo")} == {3}
    assert set(task["voltages"]) == set(fake_results.ALL)
    assert set(task["multipliers"]) == {"gradmap"}
    assert len(task["days"]) == 4
    assert set(task["splitNotes"]) == {"cold-snap", "offline"}
    assert task["best"]["method"] == "gradmap"


def test_nothing_is_loaded_from_elsewhere(
    fake_results: types.ModuleType, tmp_path: pathlib.Path
) -> None:
    text, _ = written(fake_results.make_results(tmp_path), tmp_path)
    outline = Outline(text)
    for tag, attributes in outline.elements:
        for name in ("src", "href", "srcset", "action"):
            value = attributes.get(name) or ""
            assert value.startswith(("#", "data:")) or not value, (tag, value)
        assert not [name for name in attributes if name.startswith("on")], tag
        assert "style" not in attributes, tag
    policy = next(a["content"] for t, a in outline.elements if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    (style,) = [content for tag, content in outline.texts if tag == "style"]
    script = [content for tag, content in outline.texts if tag == "script"][1]
    for content in (style, script):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    for word in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "import("):
        assert word not in script, word


def test_no_text_can_break_out(fake_results: types.ModuleType, tmp_path: pathlib.Path) -> None:
    why = "</script><script>alert(1)</script><!-- & \u2028 @SCRIPT@"
    results = fake_results.make_results(tmp_path, failed=("ippo",), why=why)
    text, found = written(results, tmp_path)
    assert "alert(1)</script>" not in text
    (unfinished,) = found["tasks"][0]["methods"][1]["unfinished"]
    assert unfinished == {"seed": 0, "status": f"failed: {why}"}
    assert json.loads(as_script_json([1.0, float("nan"), "<&>"])) == [1.0, None, "<&>"]


@pytest.mark.parametrize("missing", ["arrays", "traces", "bound"])
def test_it_is_written_without(
    fake_results: types.ModuleType, tmp_path: pathlib.Path, missing: str
) -> None:
    results = fake_results.make_results(tmp_path, **{f"has_{missing}": False})
    _, found = written(results, tmp_path)
    (task,) = found["tasks"]
    assert bool(task["voltages"]) == (missing != "arrays")
    assert bool(task["traces"]["agents"]) == (missing not in ("arrays", "traces"))
    row = task["tables"]["test"][0]
    assert (row["optimality_gap_high_pct"] is None) == (missing == "bound")


def test_it_is_written_when_all_have_failed(
    fake_results: types.ModuleType, tmp_path: pathlib.Path
) -> None:
    methods = ("gradmap", "selfish")
    results = fake_results.make_results(tmp_path, methods, failed=methods)
    _, found = written(results, tmp_path)
    (task,) = found["tasks"]
    assert task["best"] is None
    assert [bool(method["unfinished"]) for method in task["methods"]] == [True, True]
    assert not task["voltages"]


def test_several_tasks_stand_in_one_file(
    fake_results: types.ModuleType, tmp_path: pathlib.Path
) -> None:
    found = payload(fake_results.make_results(tmp_path, tasks=("one", "two", "three")))
    assert [task["name"] for task in found["tasks"]] == ["one", "two", "three"]
    assert {len(task["days"]) for task in found["tasks"]} == {2}


def test_packing_keeps_values_to_half_a_quantum() -> None:
    random = np.random.default_rng(0)
    values = 1.0 + 0.05 * random.standard_normal((2, 48, 7))
    values[0, 3, 2] = values[1, 0, 0] = np.nan
    found = unpack(pack(values, 2e-4))
    assert np.array_equal(np.isnan(found), np.isnan(values))
    assert np.nanmax(np.abs(found - values)) <= 1e-4 + 1e-12


def test_days_tell_different_stories() -> None:
    dates = [f"2016-0{month}-01" for month in range(1, 7)]
    chosen = choose_days(dates, np.array([-9.0, 3, 5, 9, 21, 8]), np.array([0.0, 1, 2, 3, 9, 4]))
    assert [day for day, _ in chosen] == [4, 0, 3, 2]
    assert chosen[0][1] == "2016-05-01: most violations, 21 °C"
    assert len(choose_days(dates[:1], np.zeros(1), np.zeros(1))) == 1


def test_buses_have_a_place_with_and_without_coordinates(feeder: Feeder) -> None:
    nodes = [node for node in feeder.node_names if not node.startswith("150.")]
    bare = dataclasses.replace(feeder, bus_xy=np.full_like(feeder.bus_xy, np.nan))
    for each, has_places in ((feeder, True), (bare, False)):
        grid = grid_data(each, nodes)
        places = np.array(grid["places"], float)
        assert grid["hasPlaces"] is has_places
        assert places.shape == (len(feeder.bus_names), 2)
        assert places.min() == 0.0
        assert places.max() == 1.0
        assert sorted(grid["order"]) == list(range(len(feeder.bus_names)))
        buses = [grid["buses"][bus] for bus in grid["nodeBus"]]
        assert buses == [node.rpartition(".")[0] for node in nodes]
    # No two buses of the tree lie on each other.
    assert len(np.unique(places, axis=0)) == len(places)
