"""A small threaded HTTP server of the standard library's parts: bounded in connections and in patience,
silent about clients that go.
"""

from __future__ import annotations

import socket
import sys
import threading
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

FULL = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 10\r\nContent-Length: 0\r\n\r\n"
PATIENCE_S = 10.0  # a client that takes or sends nothing for so long is dropped


class Server(ThreadingMixIn, WSGIServer):
    """Serves a WSGI application, a thread for each of at most `connections` clients; the next one gets 503.

    Raises OSError.
    """

    application: WSGIApplication
    daemon_threads = True
    request_queue_size = 32

    def __init__(self, host: str, port: int, application: WSGIApplication, connections: int):
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._places = threading.BoundedSemaphore(connections)
        super().__init__((host, port), _Request)
        self.application = application

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # the one between would ask the network for our own name
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            request.setblocking(False)  # a new connection has room for these bytes
            request.sendall(FULL)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client that went away is none of ours
            super().handle_error(request, client_address)


class _Request(WSGIRequestHandler):
    server: Server
    timeout = PATIENCE_S
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if len(self.raw_requestline) > 65536:
            self.requestline = self.request_version = self.command = ""
            self.send_error(414)
        elif self.parse_request():
            # typeshed asks for a whole IO[bytes], of which wsgiref uses write and flush only
            answer = _Answer(self.rfile, self.wfile, sys.stderr, self.get_environ())  # type: ignore[arg-type]
            answer.request_handler = self
            answer.run(self.server.application)

    def log_message(self, *_) -> None:
        """Keep no record of who looks."""


class _Answer(ServerHandler):
    server_software = "FER-Hailo"
    request_handler: WSGIRequestHandler  # whom it tells that it is done

    def handle_error(self) -> None:
        if not isinstance(sys.exc_info()[1], TimeoutError):
            super().handle_error()
