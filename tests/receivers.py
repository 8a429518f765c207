"""A receiver of webhooks: keeps what is posted, and answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import msgspec


class Post(NamedTuple):
    """What came."""

    path: str
    headers: Mapping[str, str]
    body: Any


class Receiver:
    """An HTTP server on loopback."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.statuses: list[int] = []
        """Answers to the next posts; 204 when there is none left."""
        self.location = ""
        """Where it redirects to, with a status that says so."""
        self.before_answer: Callable[[Post], None] = lambda _: None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = msgspec.json.decode(self.rfile.read(int(self.headers["Content-Length"])))
                post = Post(self.path, dict(self.headers), body)
                outer.posts.append(post)
                outer.before_answer(post)
                self.send_response(outer.statuses.pop(0) if outer.statuses else 204)
                if outer.location:
                    self.send_header("Location", outer.location)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def deliveries(self) -> list[str]:
        """Ids of what was posted, in order."""
        return [post.headers["X-Shepherd-Delivery"] for post in self.posts]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()
