"""A web server of a test's own: one file, with ranges as RFC 9110 has them, and faults on demand."""

from __future__ import annotations

import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Web:
    """Serves `content` at every path. What it was asked for and what it answered is in `log`.

    - `cuts`: each number ends one answer after so many bytes of its body; `refusals`: statuses answered first.
    - `etag`, `date`: what names the version (empty: not said); `ranges`: whether it knows them.
    - `pause_s` before each `piece` bytes; `redirect`: where to go instead.
    """

    def __init__(self, content: bytes):
        self.content, self.etag, self.date, self.ranges = content, '"first"', "", True
        self.cuts: list[int] = []
        self.refusals: list[int] = []
        self.pause_s, self.piece, self.redirect = 0.0, 1 << 20, ""
        self.log: list[tuple[str, int]] = []  # (Range asked for, status)
        self.sent = 0  # bytes of bodies
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/file"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Web:
        self.thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def ranges_asked(self) -> list[str]:
        return [asked for asked, _ in self.log]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range", "")
        status = self.refusals.pop(0) if self.refusals else 302 if self.redirect else 200
        start = 0
        match = re.fullmatch(r"bytes=(\d+)-", asked)
        if status == 200 and match and self.ranges and request.headers.get("If-Range") in (self.etag, self.date):
            start = int(match[1])
            status = 206 if start < len(self.content) else 416
        self.log.append((asked, status))
        body = self.content[start:] if status in (200, 206) else b""
        request.send_response(status)
        for name, value in (("ETag", self.etag), ("Last-Modified", self.date), ("Location", self.redirect)):
            if value:
                request.send_header(name, value)
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if status == 416:
            request.send_header("Content-Range", f"bytes */{len(self.content)}")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        end = self.cuts.pop(0) if self.cuts and body else len(body)
        try:
            for first in range(0, min(end, len(body)), self.piece):
                time.sleep(self.pause_s)
                piece = body[first : min(first + self.piece, end)]
                self.sent += len(piece)  # before it is: who has received the last of them may ask
                request.wfile.write(piece)
                request.wfile.flush()
        except OSError:
            pass  # the client went away
