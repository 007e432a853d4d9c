"""Downloads against a real server: cut, killed, changed, slow, wrong, refused, and asked for by many at once."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from web import Web

from models.data import DataMissing, mnist, sources
from models.data import transfer as module
from models.data.download import DownloadFailed, download

pytestmark = pytest.mark.fault
CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No proxy, and short waits."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    monkeypatch.setattr(module, "SILENCE_S", 5.0)


@pytest.fixture
def web():
    with Web(CONTENT) as serving:
        yield serving


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a cache" / "file"


def files(path):
    """Names in the file's folder."""
    return sorted(entry.name for entry in path.parent.iterdir())


def part(path):
    """What has arrived of a file."""
    return path.with_name(f".{path.name}.part")


def test_a_file_is_downloaded_once_and_nothing_else_is_left(web, path):
    assert download(web.url, path, SHA256) == path
    assert path.read_bytes() == CONTENT and files(path) == ["file"]
    download(web.url, path, SHA256)
    assert web.log == [("", 200)]


@pytest.mark.parametrize("dated", [False, True], ids=["by ETag", "by date"])
def test_a_cut_transfer_goes_on_where_it_ended(web, path, dated, injected):
    if dated:
        web.etag, web.date = "", "Wed, 21 Oct 2015 07:28:00 GMT"
    web.cuts = [100_000, 0, 50_000]
    download(web.url, path, SHA256)
    assert path.read_bytes() == CONTENT and files(path) == ["file"]
    assert web.ranges_asked == ["", "bytes=100000-", "bytes=100000-", "bytes=150000-"]
    assert web.sent == len(CONTENT)
    injected("downloads: cut transfers", 3)


def test_a_server_that_cuts_again_and_again_is_given_up_and_the_next_call_goes_on(web, path, injected):
    web.cuts = [100_000, 0, 0, 0]
    with pytest.raises(DownloadFailed, match=r"cut after 100,000 of 300,000 bytes \(3 times\)"):
        download(web.url, path, SHA256)
    assert not path.exists() and part(path).stat().st_size == 100_000
    download(web.url, path, SHA256)
    assert web.ranges_asked[-1] == "bytes=100000-" and path.read_bytes() == CONTENT and files(path) == ["file"]
    injected("downloads: cut transfers", 4)


IN_A_PROCESS = """
import os, sys
from pathlib import Path
from models.data.download import download
print("ready", flush=True)
sys.stdin.readline()
children = []
for _ in range(int(sys.argv[4])):
    child = os.fork()
    if child == 0:
        download(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
        os._exit(0)
    children.append(child)
print(*[os.waitpid(child, 0)[1] for child in children])
"""


def process(url, path, count):
    """A process that lets `count` others download as soon as it is told to."""
    argv = [sys.executable, "-c", IN_A_PROCESS, url, str(path), SHA256, str(count)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    assert child.stdout.readline() == "ready\n"
    return child


def test_a_killed_download_is_resumed_by_the_next_process(web, path, injected):
    web.piece, web.pause_s = 10_000, 0.02
    with process(web.url, path, 1) as child:
        child.stdin.write("go\n")
        child.stdin.flush()
        while not (part(path).exists() and part(path).stat().st_size):
            time.sleep(0.005)
        os.killpg(child.pid, signal.SIGKILL)
    there = part(path).stat().st_size
    assert 0 < there < len(CONTENT) and not path.exists()
    web.pause_s = 0.0
    download(web.url, path, SHA256)
    assert web.ranges_asked == ["", f"bytes={there}-"] and path.read_bytes() == CONTENT and files(path) == ["file"]
    injected("downloads: SIGKILL", 1)


def test_of_eight_processes_one_downloads_and_all_have_the_file(web, path, injected):
    web.piece, web.pause_s, web.cuts = 50_000, 0.05, [120_000]
    with process(web.url, path, 8) as child:
        out, _ = child.communicate("go\n", timeout=60)
    assert out.split() == ["0"] * 8
    assert web.ranges_asked == ["", "bytes=120000-"] and web.sent == len(CONTENT)
    assert path.read_bytes() == CONTENT and files(path) == ["file"]
    injected("downloads: processes at once", 8)


def test_a_part_of_another_version_is_begun_anew(web, path, injected):
    """The server says so, in place of the rest; the note of a part of another URL is not used."""
    web.cuts = [100_000, 0, 0, 0]
    with pytest.raises(DownloadFailed):
        download(web.url, path)
    web.content, web.etag = CONTENT[::-1], '"second"'
    download(web.url, path)
    assert path.read_bytes() == CONTENT[::-1] and web.log[-1] == ("bytes=100000-", 200)
    path.unlink()
    web.cuts = [100_000, 0, 0, 0]
    with pytest.raises(DownloadFailed):
        download(web.url, path)
    download(f"{web.url}/elsewhere", path)
    assert web.log[-1] == ("", 200) and path.read_bytes() == CONTENT[::-1]
    injected("downloads: another version on the server", 1)


@pytest.mark.parametrize(("etag", "ranges"), [("", True), ('W/"weak"', True), ('"first"', False)])
def test_where_a_rest_cannot_be_had_all_is_sent_again(web, path, etag, ranges):
    web.etag, web.ranges, web.cuts = etag, ranges, [100_000]
    download(web.url, path, SHA256)
    assert path.read_bytes() == CONTENT and [status for _, status in web.log] == [200, 200] and files(path) == ["file"]


def test_a_part_that_is_whole_already_is_only_checked(web, path):
    web.cuts = [299_999, 0, 0, 0]
    with pytest.raises(DownloadFailed):
        download(web.url, path, SHA256)
    with part(path).open("ab") as file:
        file.write(CONTENT[-1:])
    download(web.url, path, SHA256)
    assert web.log[-1] == ("bytes=300000-", 416) and path.read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_and_says_both(web, path, injected):
    with pytest.raises(DownloadFailed, match=f"SHA-256 {SHA256}, published is {'0' * 64}"):
        download(web.url, path, "0" * 64)
    assert files(path) == [] and len(web.log) == 1
    injected("downloads: wrong checksums", 1)


def test_a_part_that_was_altered_is_noticed_and_all_is_sent_again(web, path, injected):
    web.cuts = [100_000, 0, 0, 0]
    with pytest.raises(DownloadFailed):
        download(web.url, path, SHA256)
    with part(path).open("r+b") as file:
        file.write(b"x")
    download(web.url, path, SHA256)
    assert path.read_bytes() == CONTENT and web.ranges_asked[-2:] == ["bytes=100000-", ""] and files(path) == ["file"]
    injected("downloads: wrong checksums", 1)


def test_what_is_not_there_is_asked_for_once(web, path, injected):
    web.refusals = [404] * 9
    with pytest.raises(DownloadFailed, match="HTTP 404 Not Found"):
        download(web.url, path, SHA256)
    assert len(web.log) == 1 and files(path) == []
    injected("downloads: refusals (404, 429, 503)", 1)


def test_a_server_that_is_busy_is_asked_again(web, path, injected):
    web.refusals = [503, 429]
    download(web.url, path, SHA256)
    assert [status for _, status in web.log] == [503, 429, 200]
    injected("downloads: refusals (404, 429, 503)", 2)


def test_a_silent_server_is_given_up_and_what_came_is_kept(web, path, monkeypatch, injected):
    monkeypatch.setattr(module, "SILENCE_S", 0.3)
    web.cuts = [100_000, 0, 0, 0]
    with pytest.raises(DownloadFailed):
        download(web.url, path, SHA256)
    web.pause_s = 1.0
    with pytest.raises(DownloadFailed, match=r"cut after 100,000 bytes: .*timed out \(3 times\)"):
        download(web.url, path, SHA256)
    assert web.ranges_asked[-3:] == ["bytes=100000-"] * 3 and part(path).stat().st_size == 100_000
    injected("downloads: slow and silent servers", 3)


def test_a_far_too_slow_server_is_given_up_and_the_next_call_goes_on(web, path, monkeypatch, injected):
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    web.piece, web.pause_s = 10, 0.02
    with pytest.raises(DownloadFailed, match=r"too slow: \d+ bytes per second"):
        download(web.url, path, SHA256)
    there = part(path).stat().st_size
    assert there > 0
    web.piece, web.pause_s = 1 << 20, 0.0
    download(web.url, path, SHA256)
    assert web.ranges_asked == ["", f"bytes={there}-"] and path.read_bytes() == CONTENT
    injected("downloads: slow and silent servers", 1)


@pytest.mark.parametrize("url", ["http://example.org/file", "ftp://example.org/file", "file:///etc/hostname"])
def test_only_https_is_trusted(path, url):
    with pytest.raises(DownloadFailed, match="only https is trusted"):
        download(url, path, SHA256)


def test_a_redirection_away_from_https_is_refused(web, path):
    web.redirect = "http://example.org/file"
    with pytest.raises(DownloadFailed, match=r"only https is trusted, got http://example\.org"):
        download(web.url, path, SHA256)
    assert files(path) == []


def test_a_full_disk_is_an_error_and_the_next_call_goes_on(web, path, injected):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            download(web.url, path, SHA256)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not path.exists()
    download(web.url, path, SHA256)
    assert path.read_bytes() == CONTENT and files(path) == ["file"]
    injected("downloads: full disks", 1)


def test_inside_offline_nothing_is_asked_for_and_a_file_that_is_here_is_found(web, tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SWEEPER_DATA", raising=False)
    with sources.offline(), pytest.raises(DataMissing, match=f"it is downloaded from {web.url}"):
        sources.locate("folder", "file", web.url, SHA256)
    assert web.log == []
    there = sources.locate("folder", "file", web.url, SHA256)
    with sources.offline():
        assert sources.locate("folder", "file", web.url, SHA256) == there
    assert len(web.log) == 1


def test_what_is_downloaded_for_a_data_set_must_have_the_published_bytes(web, tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SWEEPER_DATA", raising=False)
    monkeypatch.setattr(mnist, "MIRROR", f"{web.url}/")
    with pytest.raises(DataMissing, match=f"failed: its bytes have the SHA-256 {SHA256}, published is 440fcabf"):
        mnist.load()
    assert files(tmp_path / "cache" / "mnist" / "any") == []
