"""Requests to the web server of `run --web`, damaged, and whether it answers them and goes on."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import socket
import sys
from pathlib import Path

from fer_hailo.common.errors import UserError
from tools.fuzz.mutate import Rng

LABELS = ("angry", "happy", "neutral")
TOKEN = "a token"
LONGEST_S = 20.0  # in which a server that goes on tells its health
PATIENCE_S = 0.3  # that a connection is listened to: streams never end
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "", "G\0T", "X" * 3000)
PATHS = (
    *("/", "/events", "/stream.mjpg", "/healthz", "/healthz/", "//", "/../etc/passwd", "/%00", "/%ff", "*"),
    *(
        "/?token=a%20token",
        "/?token=%ff",
        "/?token=",
        "/?" + "a=b&" * 500,
        "/" + "x" * 70000,
        "/é",
        "http://x/",
    ),
)
VERSIONS = ("HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9", "HTTP/1.1.1", "", "HTTP/-1", "xyz")
VALUES = (
    *("localhost", "127.0.0.1", "[::1]", "evil.example", "", "\xff\xfe", "é", "a\0b", "x" * 70000, "-1"),
    *(
        "Bearer a token",
        "Bearer",
        "bearer \xc3\xa9",
        "Basic !!",
        "99999999999999999999",
        "0",
        "chunked",
        "close",
    ),
    *("fer_hailo_x=1; a=b", "=;=;=", '"' * 300, "\t", "text/html", "multipart/form-data; boundary=x"),
)
NAMES = (
    *("Host", "Authorization", "Cookie", "Content-Length", "Transfer-Encoding", "Connection", "Expect"),
    *("Content-Type", "Range", "If-None-Match", "Accept", "X" * 300, "", "a b", "\xff", "Content_Length"),
)


def requests() -> list[bytes]:
    """What browsers and programs send."""
    host = "Host: localhost:8080\r\nUser-Agent: a browser\r\nAccept: */*\r\n"
    paths = ("/", "/healthz", "/?token=a%20token", "/events", "/stream.mjpg")
    bearer = f"Authorization: Bearer {TOKEN}\r\n"
    texts = [f"GET {path} HTTP/1.1\r\n{host}{bearer}\r\n" for path in paths]
    return [text.encode() for text in (*texts, f"POST / HTTP/1.1\r\n{host}Content-Length: 3\r\n\r\nabc")]


def http_mutant(_: bytes, rng: Rng) -> bytes:
    """A request of the parts of one, each as it should be or strange."""
    lines = [f"{rng.choice(METHODS[: rng.choice([1, 11])])} {rng.choice(PATHS)} {rng.choice(VERSIONS)}"]
    lines += ["Host: localhost"] * (rng.random() < 0.7)
    lines += [f"{rng.choice(NAMES)}: {rng.choice(VALUES)}" for _ in range(rng.choice([0, 1, 2, 5, 150]))]
    end = rng.choice(["\r\n", "\r\n", "\r\n", "\n", "\r"])
    text = end.join(lines) + rng.choice([end * 2, end * 2, end * 2, ""])
    return text.encode(rng.choice(["latin-1", "utf-8"]), "replace") + rng.randbytes(rng.choice([0, 0, 50]))


def answered(path: Path) -> str:
    """Send the file's bytes to the server. Raises UserError where it refuses them."""
    served, port, log = _server()
    log.seek(0)
    log.truncate()
    first = _ask(port, path.read_bytes())
    assert "Traceback" not in log.getvalue(), f"the server printed {log.getvalue()[-300:]!r}"
    health = _ask(port, b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n", LONGEST_S)
    assert b'"status": "' in health, f"the server does not go on: {health[:200]!r}"
    if first.startswith((b"HTTP/1.0 200", b"<!")):  # without a version it is the page alone
        _check_json(first)
        return "answered"
    line = first.split(b"\r\n")[0].decode("latin-1") or "no answer"
    assert not line.startswith("HTTP/1.0 500"), f"the server answers {line!r}"
    raise UserError(f"{path} gets {ascii(line)}")


def _check_json(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"application/json" in head and body:
        json.loads(body, parse_constant=_no_json)


def _no_json(name: str) -> None:
    raise AssertionError(f"the answer holds {name}, which is no JSON")


def _ask(port: int, request: bytes, patience: float = PATIENCE_S) -> bytes:
    """The beginning of the answer; as much of it as comes within `patience` seconds of the part before."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        connection.settimeout(patience)
        with contextlib.suppress(OSError):
            while len(found) < 4096 and (part := connection.recv(4096)):
                found += part
                if b"--frame" in found or b"retry:" in found:  # a stream, which never ends
                    break
    return found


@functools.cache
def _server() -> tuple[object, int, io.StringIO]:
    """One for the life of the process, with its standard error kept."""
    import numpy as np

    from fer_hailo.board.frames import Reading, Result, Shot
    from fer_hailo.board.web import Web

    log = sys.stderr = io.StringIO()
    served = Web("0", TOKEN, LABELS, "fuzzed")
    image = np.full((120, 160, 3), 200, np.uint8)
    face = Reading((40, 30, 50, 50), 5.0, LABELS, np.array([0.1, 0.8, 0.1]), 7)
    served.write(Result(Shot("0", image, 1, 0.1, 10.0), (face,)), image)
    return served, int(served.url.rstrip("/").rsplit(":", 1)[1]), log
