"""The file of a study as text, and the text as a tree (`sweeper.study.tree`): what is no UTF-8 text is named."""

from __future__ import annotations

import codecs
from difflib import get_close_matches
from pathlib import Path

from sweeper.errors import StudyError
from sweeper.study.tree import Node, parse

MAX_BYTES = 250_000  # ruamel.yaml takes up to 3 s per megabyte, whatever is in it


def read_tree(path: Path | str) -> Node:
    """The tree of the YAML file at `path`. Raises StudyError: missing, too large, not UTF-8, or as `parse` does."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as fault:
        raise StudyError(f"{path}: {_unreadable(path, fault)}") from None
    if len(data) > MAX_BYTES:
        raise StudyError(f"{path}: larger than {MAX_BYTES:,} bytes, the most a study may have")
    if other := _other_encoding(data):
        raise StudyError(f"{path}: it seems to be {other}, and should be UTF-8 text: save it as that")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        column = fault.start - data.rfind(b"\n", 0, fault.start)
        byte = data[fault.start : fault.start + 1]
        raise StudyError(
            f"{path}:{line}:{column}: not UTF-8 text (byte 0x{byte.hex()}, in Windows-1252 or Latin-1 "
            f"{byte.decode('cp1252', 'replace')!r}): save it as UTF-8"
        ) from None
    return parse(text, str(path))


def _other_encoding(data: bytes) -> str:
    """What a file is whose bytes are no UTF-8 text, as far as its first ones tell; empty: it may be."""
    for mark, name in ((codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"),
                       (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"),
                       (b"\x1f\x8b", "a gzip file"), (b"PK\x03\x04", "a zip file"), (b"PAR1", "a Parquet file"),
                       (b"%PDF", "a PDF file"), (b"{\\rtf", "a file of a word processor")):  # fmt: skip
        if data.startswith(mark):
            return name
    start = data[:1000]
    if 3 * start.count(0) <= len(start):  # of Latin letters in UTF-16 half the bytes are 0
        return ""
    return f"UTF-16 ({'little' if start[1::2].count(0) > start[::2].count(0) else 'big'}-endian, without its mark)"


def _unreadable(path: Path, fault: OSError) -> str:
    if not isinstance(fault, FileNotFoundError):
        return f"cannot be read: {fault.strerror}"
    folder = path.parent
    if not folder.is_dir():
        return f"no such file, nor a folder {str(folder)!r}"
    there = sorted(item.name for item in folder.iterdir() if item.suffix in (".yaml", ".yml"))
    near = get_close_matches(path.name, there, n=3, cutoff=0.5) or [n for n in there if Path(n).stem == path.name]
    hint = f", did you mean {' or '.join(repr(str(folder / name)) for name in near)}?" if near else ""
    return f"no such file{hint}"
