"""The bytes of one file over HTTPS, appended to what has arrived of it before.

A part goes with a note of which version of the file on the server it belongs to (its ETag, else its date). Only the
rest of that version is asked for (RFC 9110, `Range` with `If-Range`); a server that has another, or knows no ranges,
sends all of it, and the part is begun anew.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import certifi

SILENCE_S = 20.0  # to connect, and between two pieces
MAX_ATTEMPTS = 3  # in a row that bring nothing new
PAUSE_S = 1.0  # before an attempt after one that did; doubled with each that did not
PIECE = 1 << 16  # bytes
MIN_SPEED = 1000.0  # bytes per second; slower over `PATIENCE_S` is given up
PATIENCE_S = 60.0
SAY_EVERY_S = 5.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")  # the only hosts whose http is as good as https


class DownloadFailed(OSError):
    """The file could not be had; the message says why, in a line."""


class _Cut(Exception):
    """An attempt that ended before the end of the file; what came of it is kept."""


def check_url(url: str) -> None:
    """Raise DownloadFailed for any URL but one of https, or of http to this machine."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise DownloadFailed(f"only https is trusted, got {url}")


class Note:
    """Which version of the file on the server a part is of."""

    def __init__(self, path: Path):
        """`path`: the note's own file."""
        self.path = path

    def read(self, url: str) -> dict[str, Any]:
        """`version` (for If-Range) and `total` bytes, of a part of this URL; nothing where that is not known."""
        with suppress(OSError, ValueError):
            note = json.loads(self.path.read_bytes())
            if isinstance(note, dict) and note.get("url") == url and isinstance(note.get("version"), str):
                return note
        return {}

    def write(self, url: str, version: str, total: int | None) -> None:
        self.path.write_text(json.dumps({"url": url, "version": version, "total": total}))

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)


def fill(url: str, part: IO[bytes], note: Note) -> bool:
    """Bring the part to the file's whole length; whether bytes of an earlier call are in it. Raises DownloadFailed."""
    resumed, vain = False, 0
    while True:
        start = part.seek(0, os.SEEK_END)
        try:
            kept = _transfer(url, part, note)
            return resumed or kept
        except _Cut as cut:
            resumed = True
            vain = 0 if part.seek(0, os.SEEK_END) > start else vain + 1
            if vain >= MAX_ATTEMPTS:
                raise DownloadFailed(f"{cut} ({MAX_ATTEMPTS} times)") from cut
            time.sleep(PAUSE_S * 2**vain)


def _transfer(url: str, part: IO[bytes], note: Note) -> bool:
    """One request, for what is missing; whether it continued what was there. Raises _Cut, DownloadFailed."""
    start, known = part.seek(0, os.SEEK_END), note.read(url)
    headers = {"Accept-Encoding": "identity", "User-Agent": "sweeper"}
    if start and known:
        headers |= {"Range": f"bytes={start}-", "If-Range": known["version"]}
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = _opener().open(request, timeout=SILENCE_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # there is nothing after what is there
            if start == known.get("total"):
                return True
            part.truncate(0)
            raise _Cut("the part does not fit the file on the server") from error
        if error.code >= 500 or error.code in (408, 429):
            raise _Cut(f"HTTP {error.code} {error.reason}") from error
        raise DownloadFailed(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise DownloadFailed(_reason(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(_reason(error)) from error
    with answer:
        total = _whole_length(answer)
        if answer.status == 206:
            if _first_byte(answer) != start:
                part.truncate(0)
                raise _Cut("the server sent another part than asked for")
        else:
            part.truncate(0)
            start = 0
            version = _version(answer)
            note.write(url, version, total) if version else note.forget()
        _receive(answer, part, start, total)
    return start > 0


def _receive(answer: Any, part: IO[bytes], start: int, total: int | None) -> None:
    """Append what the server sends. Raises _Cut where it ends early, falls silent, or is far too slow."""
    have, begun = start, time.monotonic()
    window, said = (begun, have), begun
    while True:
        try:
            piece = answer.read1(PIECE)
        except (OSError, http.client.HTTPException) as error:
            raise _Cut(f"cut after {have:,} bytes: {_reason(error)}") from error
        if not piece:
            break
        part.write(piece)
        have += len(piece)
        now = time.monotonic()
        if now - window[0] >= PATIENCE_S:
            if have - window[1] < MIN_SPEED * (now - window[0]):
                raise DownloadFailed(f"too slow: {(have - window[1]) / (now - window[0]):.0f} bytes per second")
            window = (now, have)
        if now - said >= SAY_EVERY_S:
            said = now
            of = f" of {total / 1e6:.1f}" if total else ""
            print(f"downloading {urlsplit(answer.url).path}: {have / 1e6:.1f}{of} MB", file=sys.stderr, flush=True)
    part.flush()
    if total is not None and have != total:
        if have > total:
            part.truncate(0)
        raise _Cut(f"cut after {have:,} of {total:,} bytes")


def _whole_length(answer: Any) -> int | None:
    """Bytes of the whole file, as far as the server says."""
    if answer.status == 206:
        match = re.fullmatch(r"bytes \d+-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        return int(match[1]) if match else None
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _first_byte(answer: Any) -> int | None:
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _version(answer: Any) -> str:
    """What names this version of the file for If-Range: a strong ETag, else the date of the last change."""
    etag = str(answer.headers.get("ETag", ""))
    return etag if etag.startswith('"') else str(answer.headers.get("Last-Modified", ""))


def _reason(fault: BaseException) -> str:
    """The innermost cause in one short line."""
    cause = fault
    while isinstance(inner := getattr(cause, "reason", None), BaseException):
        cause = inner
    return " ".join(str(cause).split())[:160] or type(cause).__name__


def _opener() -> urllib.request.OpenerDirector:
    trusted = ssl.create_default_context()  # the system's authorities, which small containers lack
    trusted.load_verify_locations(certifi.where())
    return urllib.request.build_opener(_HttpsRedirects, urllib.request.HTTPSHandler(context=trusted))


class _HttpsRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, to https only."""

    def redirect_request(
        self, request: urllib.request.Request, file: IO[bytes], code: int, message: str, headers: Message, url: str
    ) -> urllib.request.Request | None:
        check_url(url)
        return super().redirect_request(request, file, code, message, headers, url)  # type: ignore[arg-type]
