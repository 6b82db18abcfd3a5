"""The HTML report in a browser: opened from a file, used by mouse and keyboard, on a phone."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gradmap.experiments.html_report import write_html


def _load(name: str) -> types.ModuleType:
    path = pathlib.Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


webdriver = _load("webdriver")

pytestmark = pytest.mark.skipif(webdriver.MISSING is not None, reason=str(webdriver.MISSING))

METHODS = ("gradmap", "ippo", "selfish", "rules", "receding-horizon", "perfect-foresight")
SECTIONS = [
    "overview", "results", "tradeoff", "learning", "stress", "profiles", "improvement", "feeder",
    "prices", "agent", "reproduce",
]  # fmt: skip


@pytest.fixture(scope="module")
def report(
    fake_results: types.ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    out = tmp_path_factory.mktemp("report")
    results = fake_results.make_results(
        out,
        METHODS,
        seeds=2,
        tasks=("first", "second"),
        splits=("test", "cold-snap"),
        failed=("rules",),
    )
    return write_html(results, out)


@pytest.fixture(scope="module")
def bare_report(
    fake_results: types.ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """One method, judged, of which nothing else was kept."""
    out = tmp_path_factory.mktemp("bare")
    return write_html(fake_results.make_results(out, ("idle",), has_arrays=False), out)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with webdriver.browser() as started:
        yield started


def show(browser: Any, path: pathlib.Path, width: int = 1280, height: int = 900) -> None:
    browser.resize(width, height)
    for kind in ("browser", "performance"):
        browser.log(kind)  # what earlier pages have left
    browser.open(path)
    browser.wait("return document.documentElement.dataset.ready === 'yes'")


@pytest.fixture
def page(browser: Any, report: pathlib.Path) -> Iterator[Any]:
    show(browser, report)
    # Voltages are unpacked after the page stands.
    browser.wait("return document.querySelector('#feeder .readout b') !== null")
    yield browser
    assert faults(browser) == []


def faults(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.log("browser") if entry["level"] != "DEBUG"]


def first_cells(page: Any) -> list[str]:
    rows = "document.querySelectorAll('#results-table tbody tr')"
    found: list[str] = page.run(f"return [...{rows}].map(r => r.dataset.method)")
    return found


def test_it_opens_without_a_fault_or_a_request(page: Any, report: pathlib.Path) -> None:
    script = "return [...document.querySelectorAll('section')].map(s => s.id)"
    assert page.run(script) == SECTIONS
    assert page.run("return performance.getEntriesByType('resource').map(e => e.name)") == []
    messages = [json.loads(entry["message"])["message"] for entry in page.log("performance")]
    asked = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    outside = [url for url in asked if not url.startswith(("data:", "blob:", report.as_uri()))]
    assert outside == []


def test_the_policy_forbids_the_network(page: Any) -> None:
    script = (
        "try { new WebSocket('wss://example.invalid'); } catch (e) { return e.name; } return ''"
    )
    page.run(
        "window.refused = []; document.addEventListener('securitypolicyviolation', "
        "e => window.refused.push(e.violatedDirective)); const image = new Image(); "
        "image.src = 'https://example.invalid/x.png'"
    )
    page.run(script)
    page.wait("return window.refused.includes('img-src') && window.refused.includes('connect-src')")
    page.log("browser")  # the refusals were asked for


def test_a_heading_sorts_the_table(page: Any) -> None:
    assert first_cells(page) == list(METHODS)
    head = "#results-table th[data-key=cost_usd_per_day]"
    page.run(f"document.querySelector('{head} button').click()")
    assert page.run(f"return document.querySelector('{head}').ariaSort") == "ascending"
    up = first_cells(page)
    assert up[0] == "perfect-foresight"
    assert up[-1] == "rules"  # without figures, last either way
    page.run(f"document.querySelector('{head} button').click()")
    assert page.run(f"return document.querySelector('{head}').ariaSort") == "descending"
    assert first_cells(page) == [*up[-2::-1], "rules"]


def test_a_family_can_be_left_out(page: Any) -> None:
    chip = "#results [data-family=model-free]"
    page.run(f"document.querySelector('{chip}').click()")
    assert "ippo" not in first_cells(page)
    assert page.run(f"return document.querySelector('{chip}').ariaPressed") == "false"
    page.run(f"document.querySelector('{chip}').click()")
    assert "ippo" in first_cells(page)


def test_a_failure_says_why(page: Any) -> None:
    row = "#results-table tr[data-method=rules] .status"
    assert (
        page.run(f"return document.querySelector('{row}').textContent") == "failed: out of memory"
    )
    assert "failed: out of memory" in page.run(
        "return document.querySelector('#overview').textContent"
    )


def test_the_slider_moves_the_day(page: Any) -> None:
    look = (
        "return [document.getElementById('step-time').textContent,"
        " [...document.querySelectorAll('#feeder .chart circle')].map(c => c.getAttribute('fill')),"
        " document.querySelector('#feeder .readout').textContent]"
    )
    move = (
        "const s = document.getElementById('step'); s.value = arguments[0];"
        " s.dispatchEvent(new Event('input'))"
    )
    page.run(move, 4)
    early, early_colours, early_text = page.run(look)
    page.run(move, 30)
    late, late_colours, late_text = page.run(look)
    assert (early, late) == ("02:00", "15:00")
    assert early_colours != late_colours
    assert early_text != late_text
    assert "nodes outside" in late_text


def test_it_plays_and_pauses(page: Any) -> None:
    before = page.run("return document.getElementById('step').value")
    page.run("document.getElementById('play').click()")
    page.wait(f"return document.getElementById('step').value !== '{before}'")
    page.run("document.getElementById('play').click()")
    assert "Play" in page.run("return document.getElementById('play').textContent")


def test_curves_change_their_axis(page: Any) -> None:
    look = (
        "const s = document.querySelector('#learning .chart svg');"
        " return [s.dataset.across, s.querySelector('path[data-method=gradmap]').getAttribute('d')]"
    )
    across, _ = page.run(look)
    assert across == "seconds"
    page.run("document.querySelector('#learning [data-value=power_flow_solves]').click()")
    across, path = page.run(look)
    assert across == "power_flow_solves"
    page.run("document.querySelector('#learning [data-value=violation]').click()")
    assert page.run(look)[1] != path
    page.run("document.querySelector('#learning button[data-method=gradmap]').click()")
    hidden = "return document.querySelector('#learning path[data-method=gradmap]') === null"
    assert page.run(hidden)


def test_an_agent_and_a_day_can_be_chosen(page: Any) -> None:
    choose = (
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        " s.dispatchEvent(new Event('change')); return s.value"
    )
    look = (
        "return [document.getElementById('agent-heading').textContent,"
        " document.querySelector('[data-panel=power] path').getAttribute('d'),"
        " document.querySelectorAll('[data-panel=power] path').length]"
    )
    before = page.run(look)
    assert before[2] == 2  # two methods
    assert page.run(choose, "agent-agent", "2") == "2"
    after = page.run(look)
    assert "heat pump" in after[0]
    assert after[1] != before[1]
    page.run(choose, "agent-day", "1")
    assert page.run(look)[1] != after[1]
    page.run(choose, "agent-against", "")
    assert page.run(look)[2] == 1


def test_reactive_power_is_shown_where_agents_choose_it(
    browser: Any, page: Any, fake_results: types.ModuleType, tmp_path: pathlib.Path
) -> None:
    look = "return document.querySelectorAll('[data-panel=reactive] path').length"
    assert page.run(look) == 0
    results = fake_results.make_results(tmp_path, ("gradmap", "selfish"))
    for path in tmp_path.rglob("evaluation/*-best.npz"):
        with np.load(path) as kept:
            arrays = dict(kept)
        np.savez(path, **arrays, trace_q_kvar=2.0 - arrays["trace_p_kw"])
    show(browser, write_html(results, tmp_path))
    assert page.run(look) == 2


def test_the_other_task_can_be_shown(page: Any) -> None:
    page.run(
        "const s = document.getElementById('task'); s.value = '1';"
        " s.dispatchEvent(new Event('change'))"
    )
    page.wait("return document.querySelector('#feeder .readout b') !== null")
    assert page.run("return document.querySelectorAll('section').length") == len(SECTIONS)


def test_the_theme_follows_the_button(page: Any) -> None:
    look = "return getComputedStyle(document.body).backgroundColor"
    page.theme("light")
    light = page.run(look)
    page.run("const b = document.getElementById('theme'); b.click(); b.click()")  # light, dark
    assert page.run(look) != light


@pytest.mark.parametrize("which", ["report", "bare_report"])
def test_a_phone_needs_no_sideways_scrolling(
    browser: Any, which: str, request: pytest.FixtureRequest
) -> None:
    show(browser, request.getfixturevalue(which), 360, 740)
    look = "const e = document.documentElement; return [e.scrollWidth, e.clientWidth]"
    scroll, client = browser.run(look)
    assert client == 360
    assert scroll <= client
    assert faults(browser) == []


def test_what_is_missing_leaves_no_empty_part(browser: Any, bare_report: pathlib.Path) -> None:
    show(browser, bare_report)
    ids = browser.run("return [...document.querySelectorAll('section')].map(s => s.id)")
    assert ids == ["overview", "results", "tradeoff", "profiles", "reproduce"]
    assert faults(browser) == []


def test_it_can_be_used_by_keyboard(page: Any) -> None:
    """Every control is one that a keyboard reaches, and has a name."""
    nameless = page.run(
        "return [...document.querySelectorAll('button, select, input')].filter(c => !(c.textContent"
        " || c.getAttribute('aria-label') || c.closest('label'))).map(c => c.outerHTML)"
    )
    assert nameless == []
    clickable = page.run(
        "return [...document.querySelectorAll('th button')].every(b => b.tabIndex === 0)"
    )
    assert clickable
    scrolls = page.run(
        "return [...document.querySelectorAll('.scroll')].every(s => s.tabIndex === 0)"
    )
    assert scrolls
