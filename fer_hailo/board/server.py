"""A small threaded HTTP server of the standard library's parts: bounded in connections, in all and for each
client, and in patience; silent about clients that go.
"""

from __future__ import annotations

import io
import socket
import sys
import threading
import time
from collections import Counter
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

FULL = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 10\r\nContent-Length: 0\r\n\r\n"
PATIENCE_S = 10.0  # a client that takes nothing for so long is dropped
SPARE = 8  # connections that no single address gets
REQUEST_S = 10.0  # in which its whole request must have come, however it is dealt out


class Server(ThreadingMixIn, WSGIServer):
    """Serves a WSGI application, a thread for each of at most `connections`; one address leaves SPARE of them
    to others. The next one gets 503.

    Raises OSError.
    """

    application: WSGIApplication
    daemon_threads = True
    request_queue_size = 32

    def __init__(self, host: str, port: int, application: WSGIApplication, connections: int):
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._most, self._taken, self._lock = connections, Counter[str](), threading.Lock()
        super().__init__((host, port), _Request)
        self.application = application

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # the one between would ask the network for our own name
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._take(client_address[0]):
            super().process_request(request, client_address)
        else:
            request.setblocking(False)  # a new connection has room for these bytes
            request.sendall(FULL)
            self.shutdown_request(request)

    def _take(self, client: str) -> bool:
        """Whether there is room for one more of a client's connections; if so, it is counted."""
        with self._lock:
            room = self._taken.total() < self._most and self._taken[client] < self._most - SPARE
            self._taken[client] += room
            return room

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._taken[client_address[0]] -= 1
                self._taken += Counter()  # drops the addresses that have none left

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client that went away is none of ours
            super().handle_error(request, client_address)


class _Request(WSGIRequestHandler):
    server: Server
    timeout = PATIENCE_S  # also of what is written before a whole request has come
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BufferedReader(_Received(self.connection, REQUEST_S))

    def handle(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if len(self.raw_requestline) > 65536:
            self.requestline = self.request_version = self.command = ""
            self.send_error(414)
        elif self.parse_request() and self._is_utf8():
            self.connection.settimeout(PATIENCE_S)
            # typeshed asks for a whole IO[bytes], of which wsgiref uses write and flush only
            answer = _Answer(self.rfile, self.wfile, sys.stderr, self.get_environ())  # type: ignore[arg-type]
            answer.request_handler = self
            answer.run(self.server.application)

    def _is_utf8(self) -> bool:
        """Whether all headers are UTF-8, as the application takes them to be; else the client is told."""
        try:
            for value in self.headers.values():
                value.encode("latin-1").decode("utf-8")  # http.client reads them as Latin-1
        except UnicodeError:
            self.send_error(400, "a header is not UTF-8")
            print("web: a request was refused, a header of which is not UTF-8", file=sys.stderr)
            return False
        return True

    def log_message(self, *_) -> None:
        """Keep no record of who looks."""


class _Received(io.RawIOBase):
    """What a client sends, until a moment after which it raises TimeoutError."""

    def __init__(self, connection: socket.socket, seconds: float):
        self._connection, self._end = connection, time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Answer(ServerHandler):
    server_software = "FER-Hailo"
    request_handler: WSGIRequestHandler  # whom it tells that it is done

    def handle_error(self) -> None:
        if not isinstance(sys.exc_info()[1], TimeoutError):
            super().handle_error()
