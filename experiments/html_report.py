"""Writes a comparison's report: one HTML file that holds all it needs."""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from gradmap.experiments.files import finite, write_text
from gradmap.experiments.html_payload import payload
from gradmap.experiments.results import Results

SCRIPTS = (
    "dom.js",
    "overview.js",
    "table.js",
    "scatter.js",
    "curves.js",
    "stress.js",
    "feeder.js",
    "prices.js",
    "agent.js",
    "main.js",
)
"""Parts of the page's one script, in order."""


def write_html(results: Results, out: pathlib.Path) -> pathlib.Path:
    """Writes `report.html`: it opens from a file and asks nothing of any network.

    Args:
        results: The comparison; methods without figures say why.
        out: Folder of the comparison.

    Returns:
        The file.

    Raises:
        GradmapError: If judgements are damaged, or of different days.
    """
    path = out / "report.html"
    write_text(path, page(payload(results)))
    return path


def page(content: Mapping[str, Any]) -> str:
    """Puts the page together.

    Args:
        content: From `gradmap.experiments.html_payload.payload`.
    """
    style = _part("report.css")
    script = '"use strict";\n(() => {\n' + "\n".join(_part(name) for name in SCRIPTS) + "})();\n"
    # Nothing may be loaded from anywhere, and no script or style run but these two.
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    names = ", ".join(task["name"] for task in content["tasks"])
    parts = {
        "POLICY": html.escape(policy),
        "TITLE": html.escape(f"gradmap: comparison on {names}"),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": as_script_json(content),
    }
    # In one pass: what is filled in may hold marks itself.
    return re.sub("@([A-Z]+)@", lambda mark: parts[mark[1]], _part("template.html"))


def as_script_json(value: Any) -> str:
    """JSON that nothing in a script element can break out of.

    Args:
        value: What JSON can hold; numbers that are not finite become null.
    """
    text = json.dumps(finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028"}
    for letter, escaped in {**escapes, "\u2029": "\\u2029"}.items():
        text = text.replace(letter, escaped)
    return text


def _part(name: str) -> str:
    return importlib.resources.files("gradmap.experiments").joinpath("web", name).read_text("utf-8")


def _digest(text: str) -> str:
    """Hash by which a content security policy knows a script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
