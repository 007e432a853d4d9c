"""A service of one bucket that speaks as much of S3 as a store asks for, on a free port here, which it prints.

Objects are whole or not there, conditional writes are one step, ETags follow from the content, and times are whole
seconds, as at S3 itself. Signatures are not looked at. Objects live as long as the process.

Google Cloud Storage's XML interface is the same but for its conditions, which are on an object's generation (0: there
is none), and for removals one by one. Both are spoken at once.
"""

import hashlib
import itertools
import threading
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 50  # objects in one answer to a listing: few, so that there are several
objects, generations, lock = {}, itertools.count(1), threading.Lock()


class S3(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Nothing."""

    def asked(self):
        """Name of the object, the query, and the body."""
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return unquote(url.path).split("/", 2)[2:], parse_qs(url.query, keep_blank_values=True), body

    def answer(self, code, body=b"", **headers):
        """Send it."""
        self.send_response(code)
        for name, value in ({"Content-Length": len(body)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_PUT(self):
        """Write an object, if the conditions hold."""
        name, _, body = self.asked()
        mark = f'"{hashlib.md5(body).hexdigest()}"'
        with lock:
            there = objects.get(name[0])
            if self.headers.get("If-None-Match") == "*" and there:
                return self.answer(412)
            if (wanted := self.headers.get("If-Match")) and (there is None or there[1] != wanted):
                return self.answer(412 if there else 404)
            generation = there[3] if there else 0
            if (wanted := self.headers.get("x-goog-if-generation-match")) and int(wanted) != generation:
                return self.answer(412)
            objects[name[0]] = body, mark, datetime.now(UTC).replace(microsecond=0), next(generations)
            generation = objects[name[0]][3]
        self.answer(200, ETag=mark, x_goog_generation=generation)

    def do_GET(self):
        """An object, or a part of the list."""
        name, query, _ = self.asked()
        with lock:
            if not name or not name[0]:
                return self.answer(200, listed(query).encode(), Content_Type="application/xml")
            there = objects.get(name[0])
        if there is None:
            return self.answer(404)
        data, mark, at, generation = there
        changed = format_datetime(at, usegmt=True)
        self.answer(200, data, ETag=mark, Last_Modified=changed, x_goog_generation=generation)

    do_HEAD = do_GET

    def do_DELETE(self):
        """Remove an object."""
        name, _, _ = self.asked()
        with lock:
            self.answer(204 if objects.pop(name[0], None) else 404)

    def do_POST(self):
        """Remove the objects that are named."""
        _, _, body = self.asked()
        names = [each.text for each in ET.fromstring(body).iter() if each.tag.endswith("Key")]
        with lock:
            for name in names:
                objects.pop(name, None)
        gone = "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in names)
        self.answer(200, f"<DeleteResult>{gone}</DeleteResult>".encode(), Content_Type="application/xml")


def listed(query):
    """Objects with a prefix, a page of them, after those of the page before."""
    prefix, after = query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]
    names = [name for name in sorted(objects) if name.startswith(prefix) and name > after]
    rows = "".join(
        f"<Contents><Key>{escape(name)}</Key><LastModified>{at:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
        f"<ETag>{escape(mark)}</ETag><Size>{len(body)}</Size></Contents>"
        for name in names[:PAGE]
        for body, mark, at, _ in [objects[name]]
    )
    more = len(names) > PAGE
    token = f"<NextContinuationToken>{escape(names[PAGE - 1])}</NextContinuationToken>" if more else ""
    return f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), S3)
    server.handle_error = lambda *_: None  # a client was killed
    print(server.server_port, flush=True)
    server.serve_forever()
