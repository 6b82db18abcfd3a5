"""Drives a headless Chromium by WebDriver, its JSON over HTTP; no package needed."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = None if CHROMIUM and CHROMEDRIVER else "no chromium and chromedriver on this machine"

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


# The driver is on this machine, whatever proxy stands before others.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Browser:
    """A session with one window.

    Args:
        url: Address of the session at the driver.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def open(self, path: pathlib.Path) -> None:
        _call("POST", f"{self.url}/url", {"url": path.as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """Runs the body of a function in the page, and returns what it returns."""
        body = {"script": script, "args": list(arguments)}
        return _call("POST", f"{self.url}/execute/sync", body)

    def devtools(self, command: str, **parameters: Any) -> Any:
        body = {"cmd": command, "params": parameters}
        return _call("POST", f"{self.url}/goog/cdp/execute", body)

    def resize(self, width: int, height: int) -> None:
        """Sets the size of the page itself, smaller than any window may be."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", **screen)

    def theme(self, name: str) -> None:
        wish = {"name": "prefers-color-scheme", "value": name}
        self.devtools("Emulation.setEmulatedMedia", features=[wish])

    def log(self, kind: str = "browser") -> list[dict[str, Any]]:
        """What was logged since the last call."""
        found: list[dict[str, Any]] = _call("POST", f"{self.url}/se/log", {"type": kind})
        return found

    def screenshot(self, path: pathlib.Path) -> None:
        """The whole page, however long."""
        shot = self.devtools("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def wait(self, script: str, seconds: float = 20.0) -> Any:
        """Runs a script until it returns something true."""
        return _until(lambda: self.run(script), seconds, script)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Starts a driver and a Chromium of its own; both are gone at the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        said = pathlib.Path(scratch) / "driver.log"
        with said.open("w") as log:
            driver = subprocess.Popen(
                [str(CHROMEDRIVER), "--port=0"],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            found = _until(
                lambda: re.search(r"successfully on port (\d+)", said.read_text()), 30, "the driver"
            )
            base = f"http://127.0.0.1:{found[1]}"
            options = {
                "binary": CHROMIUM,
                "args": [*FLAGS, f"--user-data-dir={scratch}/profile"],
            }
            wishes = {
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            }
            body = {"capabilities": {"alwaysMatch": wishes}}
            session = _call("POST", f"{base}/session", body)["sessionId"]
            url = f"{base}/session/{session}"
            try:
                yield Browser(url)
            finally:
                _call("DELETE", url)
        finally:
            # The driver began a group of its own: no browser of it outlives the test.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()


def _call(verb: str, url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=verb)
    try:
        with _DIRECT.open(request, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        fault = json.load(error)["value"]
        raise RuntimeError(f"{fault['error']}: {fault['message']}") from None


def _until(look: Callable[[], Any], seconds: float, what: str) -> Any:
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s for: {what}")
        time.sleep(0.05)
