"""Headless Chromium for tests, spoken to by Chrome's DevTools protocol through a pair of pipes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe",
]  # fmt: skip


class Page:
    """A page in a browser of its own.

    `problems`: what its console and its security policy complained about.
    """

    def __init__(self, source: int, target: int):
        self._source, self._target, self._rest, self._count = source, target, b"", 0
        self._session, self.problems = None, []
        target_id = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target_id, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def open(self, url: str, width: int = 1200, height: int = 800, **media: str) -> None:
        """media: such as prefers_color_scheme="dark"."""
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call("Page.navigate", url=url)

    def value(self, expression: str):
        """What a JavaScript expression gives."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def until(self, expression: str, seconds: float = 20):
        """Wait until the expression gives something true, and return that; its last value when it never
        does.
        """
        end = time.monotonic() + seconds
        while not (value := self.value(expression)) and time.monotonic() < end:
            time.sleep(0.05)
        return value

    def screenshot(self) -> bytes:
        """The visible part as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def call(self, method: str, **parameters) -> dict:
        self._count += 1
        session = {"sessionId": self._session} if self._session else {}
        os.write(
            self._target,
            json.dumps({"id": self._count, "method": method, "params": parameters} | session).encode()
            + b"\0",
        )
        while True:
            message = self._message()
            if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.problems.append(message["params"])
            if message.get("id") == self._count:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    def _message(self) -> dict:
        while b"\0" not in self._rest:
            got = os.read(self._source, 1 << 16)
            if not got:
                raise RuntimeError("the browser has ended")
            self._rest += got
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)


@contextlib.contextmanager
def browser() -> Iterator[Page]:
    """Start Chromium with a page, and end it with all its processes."""
    (from_us, to_browser), (from_browser, to_us) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # The protocol wants the descriptors 3 and 4, which only a shell hands over without disturbing others.
        line = f'exec "$@" 3<&{from_us} 4>&{to_us}'
        process = subprocess.Popen(
            ["bash", "-c", line, "bash", CHROMIUM, *FLAGS, f"--user-data-dir={folder}"],
            pass_fds=(from_us, to_us), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        os.close(from_us)
        os.close(to_us)
        try:
            yield Page(from_browser, to_browser)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(from_browser)
            os.close(to_browser)
