"""A page in headless Chromium, driven through the WebDriver protocol (W3C), for tests."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import pytest

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One Chromium window. Use as a context manager: it ends the processes it started."""

    def __init__(self) -> None:
        driver = shutil.which("chromedriver")
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        if not driver or not chromium:
            pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.profile = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.root = f"http://127.0.0.1:{port}"
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--hide-scrollbars", f"--user-data-dir={self.profile.name}"]  # fmt: skip
        wanted = {
            "goog:chromeOptions": {"binary": chromium, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        try:
            self._wait()
            opened = self._call("/session", {"capabilities": {"alwaysMatch": wanted}})
            self.session = f"/session/{opened['sessionId']}"
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._call(self.session, method="DELETE")
        finally:
            self._end()

    def open(self, address: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Opens a page in a window of a size and colour scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", {"features": [scheme]})
        self._call(f"{self.session}/url", {"url": address})

    def js(self, script: str):
        """The value of a function body run in the page."""
        return self._call(f"{self.session}/execute/sync", {"script": script, "args": []})

    def press(self, *keys: str) -> None:
        """Keys typed at the focused element."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        keyboard = {"type": "key", "id": "keyboard", "actions": actions}
        self._call(f"{self.session}/actions", {"actions": [keyboard]})

    def click(self, selector: str) -> None:
        """A real click, which fails where the element is covered or not shown."""
        found = self._call(
            f"{self.session}/element", {"using": "css selector", "value": selector}
        )  # fmt: skip
        self._call(f"{self.session}/element/{found[ELEMENT]}/click", {})

    def errors(self) -> list[str]:
        """Warnings and errors of the console since the last call."""
        lines = self._call(f"{self.session}/se/log", {"type": "browser"})
        return [line["message"] for line in lines if line["level"] in ("WARNING", "SEVERE")]

    def screenshot(self) -> bytes:
        return base64.b64decode(self._call(f"{self.session}/screenshot", method="GET"))

    def devtools(self, command: str, params: dict):
        return self._call(f"{self.session}/goog/cdp/execute", {"cmd": command, "params": params})

    def _call(self, path: str, body: dict | None = None, method: str = ""):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.root + path, data, {"Content-Type": "application/json"},
            method=method or ("POST" if data else "GET"),
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(json.load(error)["value"]["message"]) from None

    def _wait(self) -> None:
        for _ in range(100):
            try:
                if self._call("/status")["ready"]:
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("chromedriver does not answer")

    def _end(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)
        self.profile.cleanup()
