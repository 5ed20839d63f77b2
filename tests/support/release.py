"""A server on this machine in the place of those that packs are downloaded from."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Release:
    """``answers`` maps a path to a function that writes the reply; ``asked`` has the paths of all requests."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        release = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                release.asked.append(self.path)
                answer = release.answers.get(self.path)
                if answer is None:
                    self.send_error(404)
                else:
                    answer(self)

            def log_message(self, *_: object) -> None:
                """Keep the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = False
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), name="release")
        self.thread.start()
        self.base_url = f"http://127.0.0.1:{self.server.server_address[1]}/"

    def offer(self, path: str, body: bytes, *, claimed: int | None = None) -> None:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(claimed or len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        self.answers[path] = answer

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
