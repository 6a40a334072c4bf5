#!/usr/bin/env python3
"""The wire format, written from docs/wire-format.md alone, held against tests/vectors/.

Run as a program it checks every vector and exits with 1 if one does not fit; pytest runs it too.
"""

import hashlib
import json
import re
import struct
import sys
from pathlib import Path

import lz4.block
import zstandard
from nacl import bindings as nacl
from nacl.exceptions import CryptoError

VECTORS = Path(__file__).parent / "vectors"
MAGIC = b"\xc1LC"
DIGEST, STALE, TAGS, CODEC, SEAL, NEGATIVE = 1, 2, 4, 8, 16, 32
CODECS = {"zstd": 1, "lz4": 2}


def encode(header, payload):
    """The stored bytes of an enveloped payload."""
    flags, fields = 0, b""
    if "digest" in header:
        flags |= DIGEST
        fields += bytes.fromhex(header["digest"])
    if "stale_ms" in header:
        flags |= STALE
        fields += struct.pack("<Q", header["stale_ms"])
    if "tags" in header:
        flags |= TAGS
        fields += struct.pack("<H", len(header["tags"]))
        for tag in header["tags"]:
            name = bytes.fromhex(tag["name"])
            fields += struct.pack("<QH", tag["stamp"], len(name)) + name
    if "codec" in header:
        flags |= CODEC
        fields += struct.pack("<BI", CODECS[header["codec"]], header["plain_len"])
    if "key_id" in header:
        flags |= SEAL
        nonce, auth = bytes.fromhex(header["nonce"]), bytes.fromhex(header["auth"])
        fields += struct.pack("<I24s16s", header["key_id"], nonce, auth)
    if header.get("negative"):
        flags |= NEGATIVE
    return MAGIC + bytes([1, flags, flags ^ 255]) + fields + payload


def store(payload):
    """The stored bytes of a plain payload."""
    if re.fullmatch(rb"0|-?[1-9][0-9]{0,18}", payload) and -(2**63) <= int(payload) < 2**63:
        return payload
    return encode({}, payload)


def decode(stored):
    """Header and payload; no header where there is no magic. ValueError where it is damaged."""
    if stored[:3] != MAGIC:
        if len(stored) >= 6 and stored[3] == 1 and stored[4] < 64 and stored[4] ^ stored[5] == 255:
            flipped = sum((a ^ b).bit_count() for a, b in zip(stored[:3], MAGIC))
            if flipped == 1:
                raise ValueError("damaged magic")
        return None, stored
    at = 3

    def take(form):
        nonlocal at
        fields = struct.unpack_from("<" + form, stored, at)
        at += struct.calcsize("<" + form)
        return fields

    def require(holds):
        if not holds:
            raise ValueError("corrupt")

    try:
        version, flags, check = take("BBB")
        require(version == 1 and flags ^ check == 255 and flags < 64)
        require(bool(flags & DIGEST) == bool(flags & (CODEC | SEAL)))
        require(not (flags & NEGATIVE and flags & CODEC))
        header = {}
        if flags & DIGEST:
            header["digest"] = take("16s")[0].hex()
        if flags & STALE:
            (header["stale_ms"],) = take("Q")
            require(1 <= header["stale_ms"] <= 3_153_600_000_000)
        if flags & TAGS:
            (count,) = take("H")
            require(1 <= count <= 256)
            header["tags"] = []
            for _ in range(count):
                stamp, length = take("QH")
                require(1 <= length <= 1024)
                header["tags"].append({"stamp": stamp, "name": take(f"{length}s")[0].hex()})
        if flags & CODEC:
            number, header["plain_len"] = take("BI")
            require(number in CODECS.values() and header["plain_len"] <= 535_822_336)
            header["codec"] = {number: name for name, number in CODECS.items()}[number]
        if flags & SEAL:
            key_id, nonce, auth = take("I24s16s")
            header.update(key_id=key_id, nonce=nonce.hex(), auth=auth.hex())
        if flags & NEGATIVE:
            header["negative"] = True
            require(at == len(stored))
    except struct.error as error:
        raise ValueError("ends within its header") from error
    return header, stored[at:]


def digest(payload, encryption_key=None):
    """The digest of a payload, keyed under encryption."""
    if encryption_key is None:
        return hashlib.blake2b(payload, digest_size=16)
    key = hashlib.blake2b(b"lighter_cache digest 1", digest_size=32, key=encryption_key).digest()
    return hashlib.blake2b(payload, digest_size=16, key=key)


def associated(head, place):
    """What is authenticated besides the payload: the header from its version up to the tag, and the place."""
    prefix, key = place
    return head[3:-16] + struct.pack("<I", len(prefix)) + prefix + key


def pack(header, payload, place, keys, packed=None):
    """The stored bytes of a payload with a digest, encrypted where the header names a key. `packed` is
    the payload once it is compressed: compressors differ in what they make of it."""
    header = dict(header)
    body = payload if packed is None else packed
    encryption_key = keys.get(header.get("key_id"))
    if encryption_key is not None or packed is not None:
        header["digest"] = digest(payload, encryption_key).hexdigest()
    if encryption_key is None:
        return encode(header, body)
    nonce = bytes.fromhex(header["nonce"])
    head = encode({**header, "auth": "00" * 16}, b"")
    sealed = nacl.crypto_aead_xchacha20poly1305_ietf_encrypt(body, associated(head, place), nonce, encryption_key)
    return head[:-16] + sealed[-16:] + sealed[:-16]


def unpack(stored, place, keys):
    """What the header says, and the payload. ValueError where anything is not as it should be."""
    header, body = decode(stored)
    header = header or {}
    encryption_key = None
    if bool(keys) != ("key_id" in header):
        raise ValueError("encrypted, or not, against the reader's keys")
    if keys:
        encryption_key = keys.get(header["key_id"])
        if encryption_key is None:
            raise ValueError("unknown key")
        head, nonce, auth = stored[: len(stored) - len(body)], header["nonce"], header["auth"]
        try:
            body = nacl.crypto_aead_xchacha20poly1305_ietf_decrypt(
                body + bytes.fromhex(auth), associated(head, place), bytes.fromhex(nonce), encryption_key
            )
        except CryptoError as error:
            raise ValueError("forged") from error
    if "codec" in header:
        body = decompress(header["codec"], body, header["plain_len"])
    if "digest" in header and digest(body, encryption_key).hexdigest() != header["digest"]:
        raise ValueError("another digest")
    return header, body


def decompress(codec, body, plain_len):
    """Exactly `plain_len` bytes."""
    try:
        if codec == "zstd":
            frame = zstandard.ZstdDecompressor().decompressobj()
            if body[:4] != b"\x28\xb5\x2f\xfd":
                raise ValueError("no zstd frame")
            plain = frame.decompress(body)
            if not frame.eof or frame.unused_data:
                raise ValueError("not one frame")
        else:
            plain = lz4.block.decompress(body, uncompressed_size=plain_len)
    except (zstandard.ZstdError, lz4.block.LZ4BlockError) as error:
        raise ValueError("does not decompress") from error
    if len(plain) != plain_len:
        raise ValueError("another length")
    return plain


def circumstances(case):
    """Where a case is stored, and with which keys."""
    keys = {int(number): bytes.fromhex(key) for number, key in case.get("keys", {}).items()}
    return (bytes.fromhex(case["prefix"]), bytes.fromhex(case["key"])), keys


def vectors(name):
    cases = json.loads((VECTORS / f"{name}.json").read_text())
    assert cases, name
    return cases


def test_enveloped():
    for case in vectors("enveloped"):
        stored, payload = bytes.fromhex(case["stored"]), bytes.fromhex(case["payload"])
        assert encode(case["header"], payload) == stored, case["name"]
        assert decode(stored) == (case["header"], payload), case["name"]


def test_plain():
    for case in vectors("plain"):
        stored, payload = bytes.fromhex(case["stored"]), bytes.fromhex(case["payload"])
        assert store(payload) == stored, case["name"]
        assert decode(stored)[1] == payload, case["name"]


def test_foreign():
    for case in vectors("foreign"):
        stored = bytes.fromhex(case["stored"])
        assert decode(stored) == (None, stored), case["name"]


def test_corrupt():
    for case in vectors("corrupt"):
        try:
            decode(bytes.fromhex(case["stored"]))
        except ValueError:
            continue
        raise AssertionError(f"{case['name']} was accepted")


def test_packed():
    for case in vectors("packed"):
        (place, keys), name = circumstances(case), case["name"]
        stored, payload = bytes.fromhex(case["stored"]), bytes.fromhex(case["payload"])
        header, read = unpack(stored, place, keys)
        assert read == payload, name
        assert {field: header[field] for field in case["header"]} == case["header"], name
        assert set(header) - set(case["header"]) <= {"digest", "auth"}, name
        packed = bytes.fromhex(case["packed"]) if "packed" in case else None
        if case["header"]:
            assert pack(case["header"], payload, place, keys, packed) == stored, name
        else:
            assert store(payload) == stored, name


def test_refused():
    for case in vectors("refused"):
        place, keys = circumstances(case)
        try:
            unpack(bytes.fromhex(case["stored"]), place, keys)
        except ValueError:
            continue
        raise AssertionError(f"{case['name']} was accepted")


def test_flipped_bits_of_encrypted_and_compressed_values():
    for case in vectors("packed"):
        if not {"key_id", "codec"} & set(case["header"]):
            continue
        (place, keys), stored = circumstances(case), bytes.fromhex(case["stored"])
        payload = bytes.fromhex(case["payload"])
        for bit in range(len(stored) * 8):
            flipped = bytearray(stored)
            flipped[bit // 8] ^= 1 << bit % 8
            try:
                read = unpack(bytes(flipped), place, keys)[1]
            except ValueError:
                continue
            # Without encryption a flipped bit may leave the value as it is: in the stale window, in a
            # tag, or where the compressed form has more than one way to say the same.
            assert not keys and read == payload, (case["name"], bit)


def test_digest():
    for case in vectors("digest"):
        key = bytes.fromhex(case["encryption_key"]) if "encryption_key" in case else None
        assert digest(bytes.fromhex(case["payload"]), key).hexdigest() == case["digest"], case["name"]


def main():
    tests = [test for name, test in sorted(globals().items()) if name.startswith("test_")]
    for test in tests:
        try:
            test()
        except AssertionError as error:
            print(f"{test.__name__}: {error}", file=sys.stderr)
            return 1
    print(f"wire format: {len(tests)} groups of vectors fit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
