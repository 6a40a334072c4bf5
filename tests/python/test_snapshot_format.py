"""The example of docs/snapshot-format.md, read by what that page says and nothing else."""

import hashlib
import re
import struct
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs/snapshot-format.md").read_text()


def example():
    lines = re.search(r"```hex\n(.*?)```", PAGE, re.S)[1].splitlines()
    return bytes.fromhex("".join(line.split("  ")[0] for line in lines))


def blocks(data):
    """Kind and payload of each block, its checksum compared."""
    header, at, number = data[:40], 40, 0
    while at < len(data):
        kind, length = struct.unpack_from("<B3xI", data, at)
        payload = data[at + 8 : at + 8 + length]
        summed = header + struct.pack("<Q", number) + data[at : at + 8] + payload
        at += 8 + length + 16
        assert data[at - 16 : at] == hashlib.blake2b(summed, digest_size=16).digest()
        yield kind, payload
        number += 1
    assert at == len(data)


def test_the_example_reads_as_the_page_says():
    data = example()
    magic, version, flags, key, saved_at, random = struct.unpack_from("<8sHHIQ16s", data)
    assert (magic, version, flags, key) == (b"\x89LCS\r\n\x1a\n", 1, 0, 0)
    assert (saved_at, random) == (1_700_000_000_000, b"\x07" * 16)
    (entries_kind, entries), (end_kind, end) = blocks(data)
    assert (entries_kind, end_kind) == (1, 2)
    assert struct.unpack("<QQ", end) == (1, 1)
    flags, key_length, value_length, tags, ttl = struct.unpack_from("<BIIHQ", entries)
    assert (flags, tags, ttl) == (1, 1, 60_000)
    (tag_length,) = struct.unpack_from("<I", entries, 19)
    tag, key, value = struct.unpack_from(f"{tag_length}s{key_length}s{value_length}s", entries, 23)
    assert (tag, key, value) == (b"people", b"user:7", b"Ada")
    assert len(entries) == 23 + tag_length + key_length + value_length
