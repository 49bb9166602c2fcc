"""A web server on this machine, which does what a test tells it, well or badly."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """How one request is answered."""

    content: bytes
    """The whole file as it is on the server."""
    status: int = 0
    """Instead of 200 or 206, with an empty body."""
    etag: str = ""
    modified: str = ""
    kind: str = "application/octet-stream"
    ranges: bool = True
    """Whether it knows Range; it honours If-Range then."""
    begins: int = 0
    """How far beyond the place asked for a piece begins."""
    sends: int | None = None
    """Bytes of the body, after which the connection is closed."""
    stalls: bool = False
    """Rather than closing the connection, keep it open in silence."""
    length: int | None = None
    """Content-Length, whatever is sent; negative: none, the end of the connection is that of the file."""
    location: str = ""


class Request(NamedTuple):
    """What was asked."""

    path: str
    range: str | None
    if_range: str | None


class Server(NamedTuple):
    """Where it is, and what it was asked."""

    url: str
    requests: list[Request]


@contextmanager
def serving(*answers: Answer) -> Iterator[Server]:
    """A server that gives these answers, one a request, the last one for ever."""
    requests: list[Request] = []
    closing = Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = answers[min(len(requests), len(answers) - 1)]
            requests.append(Request(self.path, self.headers["Range"], self.headers["If-Range"]))
            with suppress(ConnectionError):
                respond(self, answer)
                if answer.stalls:
                    closing.wait(30)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Server(f"http://127.0.0.1:{server.server_port}/file", requests)
        finally:
            closing.set()
            server.shutdown()
            thread.join()


def respond(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    handler.close_connection = True
    asked = handler.headers["Range"] if answer.ranges else None
    if handler.headers["If-Range"] not in (None, answer.etag or answer.modified):
        asked = None
    start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
    if answer.status or start >= len(answer.content) > 0:
        handler.send_response(answer.status or 416)
        body = b""
    else:
        handler.send_response(206 if asked else 200)
        start += answer.begins if asked else 0
        body = answer.content[start:]
        if asked:
            handler.send_header("Content-Range", f"bytes {start}-{len(answer.content) - 1}/{len(answer.content)}")
    named = {"ETag": answer.etag, "Last-Modified": answer.modified, "Location": answer.location}
    for name, value in {**named, "Content-Type": answer.kind, "Connection": "close"}.items():
        if value:
            handler.send_header(name, value)
    length = len(body) if answer.length is None else answer.length
    if length >= 0:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()
    handler.wfile.write(body[: answer.sends])
    handler.wfile.flush()
