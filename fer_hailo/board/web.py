"""The results in a browser: a page with the live image, server-sent events for other programs, and a state of
health.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np

from fer_hailo.board.draw import colours
from fer_hailo.board.frames import Result
from fer_hailo.board.images import to_bgr
from fer_hailo.board.live import STALLED_S, Live
from fer_hailo.board.server import Server
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import to_json

CLIENTS = 16  # so many may watch the image at once, and as many the events
CONNECTIONS = 2 * CLIENTS + 16  # of any kind at once, so that the state of health is seen also when all watch
HEARTBEAT_S = (
    10.0  # at least so often something goes to who waits for events, which finds those who have gone
)
STATUS_S = 1.0  # so often they hear of rate and latency
WIDEST, QUALITY = 1280, 80  # of the JPEGs: wider images, in pixels, are sent smaller
BOUNDARY = b"--frame\r\n"
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",  # no other site may show the image
}


class Web:
    """A sink (see outputs.Sink) that serves the newest result and keeps no other.

    address: "[HOST:]PORT"; HOST is 127.0.0.1 by default, [::1] for IPv6; port 0 is any free one. `url` tells.
    token: who gives it may look, once as ?token=... (then a cookie stands for it) or each time as
    `Authorization: Bearer ...`; any address that other machines reach needs one. It travels in the clear:
    over networks you do not trust, serve on 127.0.0.1 and come through ssh -L. labels: of the classifier.
    title: of the page.

    /             the page /stream.mjpg  the annotated images: JPEG, multipart/x-mixed-replace /events
    server-sent: the JSON of each result, its number as id; and events named `status` with rate and latency
    /healthz      JSON; status 503 without a new frame. Needs no token, as it tells nothing of what is seen.

    Raises UserError: a bad or taken address, a missing token, bottle not installed.
    """

    draws = True

    def __init__(self, address: str, token: str | None, labels: Sequence[str], title: str):
        host, port = _parse(address)
        local = _is_local(host)
        if not local and not token:
            raise UserError(
                f"other machines reach {host}: give a --token of your choice, or the port alone to serve "
                "this machine only"
            )
        self._live = Live(_event, _jpeg)
        application = _application(self._live, _Guard(token, local), *_page(labels, title, self._live.run))
        try:
            self._server = Server(host, port, application, CONNECTIONS)
        except OSError as error:  # also of a host that has no such name
            raise UserError(
                f"cannot serve at {address} ({error.strerror}): choose another port or host"
            ) from None
        self.url = f"http://{_shown(host)}:{self._server.server_port}/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), daemon=True, name="web"
        )
        self._thread.start()

    def write(self, result: Result, drawn: np.ndarray | None) -> None:
        """Make this the newest result; waits for no client. drawn: uint8 (H, W, 3) RGB, not to be changed
        afterwards.
        """
        self._live.write(result, drawn)

    def close(self) -> None:
        self._live.close()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


def _parse(address: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:(\[[0-9a-fA-F:.]+\]|[^:\[\]/]+):)?(\d{1,5})", address)
    if not found or int(found[2]) > 65535:
        raise UserError(
            f"{address!r} is no address to serve at: give PORT or HOST:PORT, such as 8080 or 0.0.0.0:8080"
        )
    return (found[1] or "127.0.0.1").strip("[]"), int(found[2])


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _shown(host: str) -> str:
    """The host as others write it in an address."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _event(result: Result) -> bytes:
    return to_json(result.to_dict()).encode()


def _jpeg(drawn: np.ndarray) -> bytes:
    import cv2

    high, wide = drawn.shape[:2]
    if wide > WIDEST:
        drawn = cv2.resize(drawn, (WIDEST, max(1, round(high * WIDEST / wide))), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", to_bgr(drawn), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _pictures(live: Live) -> Iterator[bytes]:
    """The parts of an endless multipart answer.

    Each ends with the next one's boundary: browsers show a part when they see that.
    """
    yield BOUNDARY
    number = 0
    # After that the old image goes once more, which finds those who have gone
    while live.wait(live.picture, number, STALLED_S):
        number, jpeg = live.picture.get()
        if jpeg:
            yield b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n%b" % (
                len(jpeg),
                jpeg,
                BOUNDARY,
            )


def _events(live: Live) -> Iterator[bytes]:
    """Server-sent events. Who reads slowly misses some, and sees that by their ids."""
    yield b"retry: 1000\n\n"
    number, told = 0, -STATUS_S
    while live.wait(live.event, number, HEARTBEAT_S):
        before = number
        number, event = live.event.get()
        if number == before:
            yield b": nothing new\n\n"
            continue
        yield b"id: %d\ndata: %b\n\n" % (number, event)
        if time.monotonic() - told >= STATUS_S:
            told = time.monotonic()
            yield b"event: status\ndata: %b\n\n" % to_json(live.status()).encode()


def _page(labels: Sequence[str], title: str, run: str) -> tuple[str, str]:
    """The page as HTML, and the Content-Security-Policy that allows its own script and style and nothing
    else.
    """
    html = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    hashes = {}
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        hashes[tag] = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
        "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    shown = {label: "#" + bytes(rgb).hex() for label, rgb in colours(labels).items()}
    setup = {"run": run, "labels": list(labels), "colours": shown}
    values = {"title": escape(title), "setup": to_json(setup).replace("<", "\\u003c")}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], html), policy


class _Guard:
    """Who may look. local: only this machine is served.

    Then the Host header must name this machine: else any web site could read what is served, through a name
    of its own that it lets point here (DNS rebinding).
    """

    NAMES = ("localhost", "127.0.0.1", "::1")

    def __init__(self, token: str | None, local: bool):
        self._token, self._local = (token or "").encode(), local
        # A token may hold characters that a cookie may not
        self._value = hmac.new(self._token, b"cookie", "sha256").hexdigest()
        self._name = f"fer_hailo_{self._value[:8]}"  # a browser sends cookies to every port of a host

    def check(self) -> None:
        """Let the request pass that bottle is handling, or raise its HTTPError."""
        from bottle import HTTPError, request, response

        host = re.sub(r":\d+$", "", request.get_header("Host", "")).strip("[]").lower()
        if self._local and host not in self.NAMES:
            raise HTTPError(403, "only this machine is served: open http://localhost with the port")
        if not self._token or request.path == "/healthz":
            return
        kind, _, bearer = request.get_header("Authorization", "").partition(" ")
        given = request.query.getunicode("token") or (bearer if kind.lower() == "bearer" else "")
        if hmac.compare_digest(given.encode(), self._token):
            response.set_cookie(self._name, self._value, path="/", httponly=True, samesite="strict")
        elif not hmac.compare_digest(request.get_cookie(self._name, "").encode(), self._value.encode()):
            raise HTTPError(401, "a token is needed: add ?token=... to the address")


def _application(live: Live, guard: _Guard, page: str, policy: str):
    """The WSGI application: four routes."""
    try:
        from bottle import Bottle, HTTPError, response
    except ImportError:
        raise UserError(
            "the web page needs bottle: pip install 'fer-hailo[web]', or pip install bottle"
        ) from None

    app = Bottle()
    app.add_hook("before_request", guard.check)
    app.add_hook("after_request", lambda: response.headers.update(HEADERS))

    def counted(kind: str, parts: Iterator[bytes]) -> Iterator[bytes]:
        with live.client(kind, CLIENTS) as free:
            if not free:
                raise HTTPError(
                    503, f"{CLIENTS} watch already: try again later", headers={"Retry-After": "10"}
                )
            yield from parts

    @app.get("/")
    def show():
        response.set_header("Content-Security-Policy", policy)
        return page

    @app.get("/stream.mjpg")
    def pictures():
        response.content_type = "multipart/x-mixed-replace; boundary=frame"
        return counted("pictures", _pictures(live))

    @app.get("/events")
    def events():
        response.content_type = "text/event-stream; charset=utf-8"
        return counted("events", _events(live))

    @app.get("/healthz")
    def health():
        known = live.health()
        response.status = 200 if known["status"] == "ok" else 503
        response.content_type = "application/json"
        return to_json(known)

    def plain(error) -> str:
        response.content_type = "text/plain; charset=utf-8"
        return f"{error.body}\n"

    app.default_error_handler = plain
    return app
