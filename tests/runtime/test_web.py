import contextlib
import http.client
import io
import json
import socket
import sys
import threading
import time

import numpy as np
import pytest

from fer_hailo.board import live, server, web
from fer_hailo.board.draw import colours, draw
from fer_hailo.board.frames import Reading, Result, Shot
from fer_hailo.board.web import CLIENTS, CONNECTIONS, Web
from fer_hailo.common.errors import UserError

LABELS = ("angry", "happy", "neutral")


def result(number=0, share=0.75, faces=1, high=120, wide=160):
    rest = (1 - share) / 2
    face = Reading((40, 30, 50, 50), 5.0, LABELS, np.array([rest, share, rest]), 7)
    return Result(
        Shot("0", np.full((high, wide, 3), 200, np.uint8), number, number / 10, 10.0), (face,) * faces
    )


def put(served, *results):
    for one in results:
        served.write(one, draw(one.shot.image, one.faces))


@pytest.fixture
def serve():
    """Start a Web at any free port, and close it at the end of the test."""
    with contextlib.ExitStack() as stack:

        def start(address="0", token=None, title="camera 0"):
            served = Web(address, token, LABELS, title)
            stack.callback(served.close)
            return served

        yield start


def port(served):
    return int(served.url.rstrip("/").rsplit(":", 1)[1])


def get(served, path="/", method="GET", **headers):
    """The reply, with its whole body as .body where it ends."""
    connection = http.client.HTTPConnection("127.0.0.1", port(served), timeout=20)
    connection.request(
        method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    answer = connection.getresponse()
    if (
        answer.headers.get_content_type() not in ("multipart/x-mixed-replace", "text/event-stream")
        or answer.status != 200
    ):
        answer.body = answer.read().decode()
    return answer


def event(answer):
    """The next server-sent event, as its fields, or the comment."""
    lines = {}
    while line := answer.readline().decode().rstrip("\n"):
        name, _, value = (
            line.partition(": ") if not line.startswith(":") else ("comment", "", line[1:].strip())
        )
        lines[name] = value
    return lines


def part(answer):
    """The next JPEG of a stream, as RGB."""
    from PIL import Image

    assert answer.readline() == b"--frame\r\n" and answer.readline() == b"Content-Type: image/jpeg\r\n"
    length = int(answer.readline().split(b": ")[1])
    assert answer.readline() == b"\r\n"
    data = answer.read(length)
    assert answer.readline() == b"\r\n"
    return np.asarray(Image.open(io.BytesIO(data)))


# What is served


def test_the_page_loads_nothing_from_elsewhere(serve):
    page = get(serve(title="</script><b>&"))
    assert page.status == 200 and page.headers.get_content_type() == "text/html"
    policy = page.headers["Content-Security-Policy"]
    assert (
        policy.startswith("default-src 'none'; script-src 'sha256-")
        and "unsafe" not in policy
        and "http" not in policy
    )
    assert "http:" not in page.body and "https:" not in page.body and "//cdn" not in page.body
    assert "&lt;/script&gt;&lt;b&gt;&amp;</h1>" in page.body and "{{" not in page.body
    assert "This page stores nothing" in page.body
    setup = json.loads(page.body.split('id="setup">')[1].split("</script>")[0])
    assert (
        setup["labels"] == list(LABELS)
        and setup["colours"]["happy"] == "#f0e442"
        and colours(LABELS)["happy"] == (0xF0, 0xE4, 0x42)
    )


def test_a_label_cannot_end_the_script(serve):
    served = Web("0", None, ("</script><script>alert(1)", "b"), "x")
    body = get(served).body
    served.close()
    assert "<script>alert" not in body and "\\u003c/script>" in body


@pytest.mark.parametrize(
    "path", ["/page.html", "/favicon.ico", "/../pyproject.toml", "/%2e%2e/web.py", "/events/", "/static/x"]
)
def test_nothing_else_is_served(serve, path):
    answer = get(serve(), path)
    assert answer.status == 404 and answer.headers.get_content_type() == "text/plain"


@pytest.mark.parametrize("path", ["/", "/healthz", "/nothing"])
def test_headers_on_every_answer(serve, path):
    headers = get(serve(), path).headers
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
    assert (
        headers["Cross-Origin-Resource-Policy"] == "same-origin"
        and headers["Referrer-Policy"] == "no-referrer"
    )
    assert "Python" not in str(headers) and "Access-Control-Allow-Origin" not in headers


def test_only_reading(serve):
    assert (
        get(serve(), "/", method="POST").status == 405
        and get(serve(), "/events", method="HEAD").status == 200
    )


def test_the_stream_gives_the_annotated_pictures(serve):
    served = serve()
    put(served, result(0))
    answer = get(served, "/stream.mjpg")
    assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
    first = part(answer)
    expected = draw(result().shot.image, result().faces)
    # JPEG; red and blue in their places
    assert first.shape == (120, 160, 3) and np.abs(first.astype(int) - expected).mean() < 5
    put(served, result(1, high=600, wide=2560))
    assert part(answer).shape == (300, 1280, 3)


def test_a_picture_without_a_successor_is_whole(serve):
    """Browsers show a part when its closing boundary has come."""
    served = serve()
    put(served, result())
    answer = get(served, "/stream.mjpg")
    part(answer)
    assert answer.readline() == b"--frame\r\n"


def test_events_are_the_results_in_order(serve):
    served = serve()
    put(served, result(0))
    answer = get(served, "/events")
    assert answer.headers.get_content_type() == "text/event-stream" and event(answer) == {"retry": "1000"}
    got = [event(answer)]
    status = event(answer)
    for number in range(1, 4):
        put(served, result(number))
        got.append(event(answer))
    assert [one["id"] for one in got] == ["1", "2", "3", "4"]
    assert [json.loads(one["data"]) for one in got] == [result(number).to_dict() for number in range(4)]
    assert status["event"] == "status"
    assert (
        set(json.loads(status["data"])) == {"run", "frames_per_s", "latency_ms"}
        and json.loads(status["data"])["latency_ms"] < 1000
    )


def test_a_result_without_a_picture_is_an_event_and_the_picture_stays(serve):
    served = serve()
    put(served, result(0))
    served.write(Result(Shot("0", None, problem="is gone, retrying")), None)
    answer = get(served, "/events")
    event(answer)
    assert json.loads(event(answer)["data"]) == {"source": "0", "problem": "is gone, retrying"}
    assert part(get(served, "/stream.mjpg")).shape == (120, 160, 3)


def test_a_slow_reader_skips_events(serve):
    served = serve()
    put(served, result(0))
    answer = get(served, "/events")
    event(answer), event(answer), event(answer)
    # Some 8 KiB each, which no socket holds in all
    many = [result(number, faces=60) for number in range(1, 600)]
    for one in many:
        served.write(one, one.shot.image)
        time.sleep(0.0005)
    ids = []
    while not ids or ids[-1] < 600:
        one = event(answer)
        if "id" in one:
            ids.append(int(one["id"]))
    assert ids == sorted(set(ids)) and len(ids) < 599  # none twice, none late, and the newest arrives


def test_heartbeat(serve, monkeypatch):
    monkeypatch.setattr(web, "HEARTBEAT_S", 0.1)
    answer = get(serve(), "/events")
    assert event(answer) == {"retry": "1000"} and event(answer) == {"comment": "nothing new"} == event(answer)


def test_health(serve, monkeypatch):
    monkeypatch.setattr(live, "STALLED_S", 0.4)
    served = serve()
    early = get(served, "/healthz")
    assert early.status == 200 and json.loads(early.body)["frames"] == 0
    for number in range(5):
        put(served, result(number))
        time.sleep(0.05)
    health = json.loads(get(served, "/healthz").body)
    assert set(health) == {"status", "frames", "frames_per_s", "last_frame_age_s", "clients"}
    assert (
        health["status"] == "ok"
        and health["frames"] == 5
        and 5 < health["frames_per_s"] <= 20
        and health["clients"] == 0
    )
    watching = get(served, "/events")
    event(watching)
    time.sleep(0.5)
    stalled = get(served, "/healthz")
    assert (
        stalled.status == 503
        and json.loads(stalled.body)["status"] == "stalled"
        and json.loads(stalled.body)["clients"] == 1
    )
    put(served, result(6))
    assert get(served, "/healthz").status == 200


# Who is served


@pytest.mark.parametrize("host, status", [
    ("localhost", 200), ("LOCALHOST:80", 200), ("127.0.0.1:1234", 200), ("[::1]:8080", 200),
    ("evil.example", 403), ("localhost.evil.example", 403), ("127.0.0.1.evil.example:80", 403),
    ("192.168.1.5", 403), ("", 403),
])  # fmt: skip
def test_on_loopback_the_host_must_be_this_machine(serve, host, status):
    served = serve()
    assert [get(served, path, Host=host).status for path in ("/", "/healthz")] == [status] * 2


def test_other_addresses_need_a_token():
    for address in ("0.0.0.0:0", "[::]:0", "192.168.7.7:0", "board.local:0"):
        for token in (None, ""):
            with pytest.raises(UserError, match="give a --token"):
                Web(address, token, LABELS, "x")


@pytest.mark.parametrize("address", ["127.0.0.1:0", "0.0.0.0:0"])
def test_a_token_opens_everything_once_given(serve, address):
    served = serve(address, "gehe;im ü&")
    put(served, result())
    for path in ("/", "/events", "/stream.mjpg", "/nothing"):
        for given in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic gehe"},
            {"Cookie": "fer_hailo=x"},
        ):
            assert get(served, path, **given).status == 401
        assert get(served, f"{path}?token=wrong").status == get(served, f"{path}?token=").status == 401
    assert get(served, "/healthz").status == 200  # for watchdogs; it tells nothing of what is seen
    page = get(served, "/?token=gehe%3Bim%20%C3%BC%26")
    cookie = page.headers["Set-Cookie"]
    assert (
        page.status == 200 and "HttpOnly" in cookie and "SameSite=strict" in cookie and "gehe" not in cookie
    )
    kept = cookie.split(";")[0]
    assert [
        get(served, path, Cookie=kept).status for path in ("/", "/events", "/stream.mjpg", "/nothing")
    ] == [200, 200, 200, 404]
    assert get(served, "/", Cookie=kept[:-1]).status == 401


def test_a_token_in_a_header(serve):
    served = serve("0.0.0.0:0", "secret")
    assert get(served, "/events", Authorization="Bearer secret").status == 200
    assert get(served, "/events", Authorization="bearer secret").status == 200
    assert get(served, "/events", Authorization="secret").status == 401


@pytest.mark.parametrize(
    "address", ["", "x", "1.2.3.4", "8080x", "70000", ":80", "::1:80", "http://localhost:80", "a:b:1"]
)
def test_no_addresses(address):
    with pytest.raises(UserError, match="is no address to serve at"):
        Web(address, "secret", LABELS, "x")


def test_a_port_in_use(serve):
    taken = port(serve())
    with pytest.raises(UserError, match=f"cannot serve at 127.0.0.1:{taken} .* choose another"):
        Web(f"127.0.0.1:{taken}", None, LABELS, "x")
    with pytest.raises(UserError, match="cannot serve at no.such.host.invalid:0"):
        Web("no.such.host.invalid:0", "secret", LABELS, "x")


def test_ipv6(serve):
    try:
        served = serve("[::1]:0")
    except UserError:
        pytest.skip("this machine has no IPv6")
    assert served.url.startswith("http://[::1]:")
    connection = http.client.HTTPConnection("::1", port(served), timeout=20)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200


def test_without_bottle(monkeypatch):
    monkeypatch.setitem(sys.modules, "bottle", None)
    with pytest.raises(UserError, match="pip install 'fer-hailo\\[web\\]'"):
        Web("0", None, LABELS, "x")


# Many and slow clients


def connect(served, path):
    """A client that asks and never reads."""
    client = socket.create_connection(("127.0.0.1", port(served)), timeout=20)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return client


def clients(served):
    return json.loads(get(served, "/healthz").body)["clients"]


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return met


def test_clients_that_never_read_do_not_slow_writing(serve, monkeypatch):
    monkeypatch.setattr(server, "PATIENCE_S", 1.0)
    served = serve()
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)  # JPEGs of some 250 KiB
    put(served, result())
    idle = [connect(served, path) for path in CLIENTS * ["/stream.mjpg", "/events"]]
    assert until(lambda: clients(served) == 2 * CLIENTS)
    times = []
    for number in range(100):
        start = time.perf_counter()
        served.write(result(number, faces=20), noise)
        times.append(time.perf_counter() - start)
        time.sleep(0.01)
    # They hold only the interpreter's lock, in turns of 5 ms; on a busy test machine some turns are longer.
    assert np.median(times) < 0.003 and np.percentile(times, 90) < 0.05
    feeding = threading.Event()
    feeder = threading.Thread(
        target=lambda: [served.write(result(), noise) or time.sleep(0.02) for _ in iter(feeding.is_set, True)]
    )
    feeder.start()
    try:
        gone = until(lambda: clients(served) <= CLIENTS)  # who stopped reading the images is dropped
    finally:
        feeding.set()
        feeder.join()
    assert gone
    for client in idle:
        client.close()


def test_one_encoding_for_all_and_none_for_nobody(serve, monkeypatch):
    encoded, real = [], web._jpeg
    monkeypatch.setattr(web, "_jpeg", lambda drawn: encoded.append(1) or real(drawn))
    served = serve()
    put(served, *map(result, range(20)))
    assert not encoded
    watching = [get(served, "/stream.mjpg") for _ in range(5)]
    for answer in watching:
        part(answer)
    assert len(encoded) == 1
    put(served, result(21))
    for answer in watching:
        part(answer)
    assert len(encoded) == 2


@pytest.mark.parametrize("path", ["/stream.mjpg", "/events"])
def test_more_clients_than_places(serve, path):
    served = serve()
    put(served, result())
    watching = [get(served, path) for _ in range(CLIENTS)]
    refused = get(served, path)
    assert refused.status == 503 and refused.headers["Retry-After"] == "10" and "try again" in refused.body
    assert get(served, "/").status == get(served, "/healthz").status == 200
    watching.pop().close()
    put(served, result(1))  # the gap is noticed with the next frames

    def feed():
        put(served, result(2))
        return get(served, path).status == 200

    assert until(feed)


def test_more_connections_than_places(serve):
    served = serve()

    def come(number, count):
        """Connections of another client on this machine."""
        place, source = ("127.0.0.1", port(served)), (f"127.0.0.{number}", 0)
        return [socket.create_connection(place, timeout=20, source_address=source) for _ in range(count)]

    idle = come(7, CONNECTIONS - server.SPARE)
    time.sleep(0.3)
    (greedy,) = come(7, 1)
    assert greedy.recv(100).startswith(b"HTTP/1.0 503 ")
    assert get(served, "/healthz").status == 200  # to others
    idle += come(8, server.SPARE)
    time.sleep(0.3)
    (late,) = come(9, 1)
    assert late.recv(100).startswith(b"HTTP/1.0 503 ")
    for client in idle:
        client.close()
    assert until(lambda: get(served, "/healthz").status == 200)


def test_clients_that_vanish_leave_no_trace(serve, capfd, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_S", 0.3)
    served = serve()
    for path in ("/", "/stream.mjpg", "/events"):
        client = connect(served, path)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()  # resets the connection
    half = socket.create_connection(("127.0.0.1", port(served)))
    half.sendall(b"GET / HT")
    for number in range(30):
        put(served, result(number))
        time.sleep(0.02)
    assert clients(served) == 0
    half.settimeout(5)
    assert half.recv(10) == b""  # dropped after the time limit
    served.close()
    assert capfd.readouterr() == ("", "")


def test_a_request_in_crumbs_has_one_deadline(serve, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_S", 0.6)
    served = serve()
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port(served)), timeout=5) as slow:
        with contextlib.suppress(ConnectionError):
            for crumb in b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" * 2:
                slow.sendall(bytes([crumb]))
                time.sleep(0.05)
        with contextlib.suppress(ConnectionError):
            assert slow.recv(10) == b""
    assert time.monotonic() - start < 5.5  # the crumbs alone take four seconds, were they all taken
    assert until(lambda: served._server._taken.total() == 0)


def test_headers_that_are_no_text(serve, capfd):
    served = serve()
    with socket.create_connection(("127.0.0.1", port(served)), timeout=5) as odd:
        odd.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: token=\xff\xfe\r\n\r\n")
        assert b" 400 " in odd.makefile("rb").read()  # to the end: the server has said all by then
    assert "a header of which is not UTF-8" in capfd.readouterr().err
    assert get(served, "/", Cookie="token=caf\u00e9".encode().decode("latin-1")).status == 200


def test_close_ends_all_streams(serve):
    served = serve()
    put(served, result())
    events, pictures = get(served, "/events"), get(served, "/stream.mjpg")
    served.close()
    served.close()
    assert b"id: 1\n" in events.read() and pictures.read().endswith(b"--frame\r\n")
    with pytest.raises(ConnectionRefusedError):
        get(served, "/")


# In a browser


@pytest.fixture(scope="module")
def page():
    from browser import CHROMIUM, browser

    if not CHROMIUM:
        pytest.skip("no Chromium or Chrome here")
    with browser() as opened:
        yield opened


TEXT = "document.querySelector('#list .label')?.textContent"
WIDTHS = """[...document.querySelectorAll('#list li:not([hidden]) .bar i')].map(
    (bar) => bar.getBoundingClientRect().width / bar.parentNode.clientWidth)"""

# The history's colour at a part of its height, at the right end; empty where nothing is painted.
NEWEST = """(share) => {
    const canvas = document.getElementById('history'), pen = canvas.getContext('2d');
    const pixel = pen.getImageData(canvas.width - 3, share * canvas.height, 1, 1);
    return pixel.data.join().replace(/^0,0,0,0$/, '');
}"""


def test_the_page_shows_picture_label_and_bars(serve, page):
    served = serve(title="a <b> & c")
    put(served, result(0))
    page.problems.clear()
    page.open(served.url, prefers_reduced_motion="reduce")
    assert page.until(TEXT) == "happy 75 %#7"
    assert np.allclose(page.value(WIDTHS), [0.125, 0.75, 0.125], atol=0.02)
    assert (
        page.until(
            "!document.getElementById('image').hidden && document.getElementById('image').naturalWidth"
        )
        == 160
    )
    assert page.value("document.querySelector('h1').textContent") == "a <b> & c"
    assert page.value("document.querySelector('#list .bar i').style.background") == "rgb(213, 94, 0)"
    put(served, result(1, share=0.2, faces=2), result(2, share=0.2, faces=2))
    assert page.until(f"{WIDTHS}.length == 6") and np.allclose(
        page.value(WIDTHS), 2 * [0.4, 0.2, 0.4], atol=0.02
    )
    put(served, result(3, faces=0))
    assert page.until("!document.getElementById('none').hidden") and page.value(WIDTHS) == []
    # Nor did its own policy block anything
    assert [p for p in page.problems if "favicon" not in json.dumps(p)] == []


def test_the_history_is_painted_in_the_colours_of_the_labels(serve, page):
    served = serve()
    page.open(served.url, prefers_reduced_motion="no-preference")
    assert page.until("document.getElementById('state').textContent == 'waiting for an image'")
    for number in range(20):
        put(served, result(number))
        time.sleep(0.05)
    # From the top: angry to 12.5 %, happy to 87.5 %, neutral.
    put(served, result(21))
    got = [page.until(f"({NEWEST})({share})") for share in (0.06, 0.5, 0.95)]
    assert got == ["213,94,0,255", "240,228,66,255", "86,180,233,255"]
    assert "live" in page.value("document.getElementById('state').textContent")
    assert page.until("/^[0-9.]+ frames\\/s$/.test(document.getElementById('rate').textContent)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(serve, page, scheme):
    served = serve(title="rtsp://10.0.0.7/averyveryveryverylongname/averyveryveryverylongname")
    put(served, result(high=480, wide=640))
    page.open(served.url, 400, 800, prefers_color_scheme=scheme)
    assert page.until(TEXT)
    assert page.value("document.documentElement.scrollWidth") <= 400
    ground, ink = (
        page.value(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")
    )
    light = {
        "light": ("rgb(243, 245, 247)", "rgb(23, 33, 43)"),
        "dark": ("rgb(16, 22, 28)", "rgb(233, 238, 243)"),
    }
    assert (ground, ink) == light[scheme]


def test_the_page_survives_a_restart_and_a_token_leaves_the_address(serve, page):
    first = serve(token="secret")
    number = port(first)
    put(first, result(0))
    page.open(f"{first.url}?token=secret")
    assert page.until(TEXT) == "happy 75 %#7" and page.value("location.search") == ""
    run = page.value("setup.run")
    first.close()
    assert page.until("document.getElementById('state').textContent == 'no connection, retrying'")
    second = serve(f"127.0.0.1:{number}", "secret")
    for count in range(100):
        put(second, result(count, share=0.5))
        if page.value(TEXT) == "happy 50 %#7" and page.value("setup.run") != run:
            break
        time.sleep(0.1)
    # It took the new program's page
    assert page.value(TEXT) == "happy 50 %#7" and page.value("setup.run") != run
    assert page.until("document.getElementById('picture').naturalWidth") == 160
