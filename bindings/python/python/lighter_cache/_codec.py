"""Codecs: how objects become bytes and come back."""

import json
import pickle
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from ._native import Cache


class Codec(NamedTuple):
    """A pair of functions: from an object to bytes, and back."""

    encode: Callable[[Any], Any]
    """Returns bytes, or what exports a buffer."""
    decode: Callable[[bytes], Any]
    """Returns an object that nobody else holds."""


CodecLike: TypeAlias = Codec | tuple[Callable[[Any], Any], Callable[[bytes], Any]] | str


def _to_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _from_json(data: bytes) -> Any:
    return json.loads(data.decode("utf-8", "surrogatepass"))


def _to_pickle(value: object) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def _msgpack() -> Codec:
    try:
        import msgpack  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise ImportError('codec="msgpack" needs the package msgpack') from None
    return Codec(msgpack.packb, msgpack.unpackb)


def chosen(codec: CodecLike | None, cache: Cache) -> Codec | None:
    """The codec that is meant; None for bytes as they are."""
    match codec:
        case None:
            return None
        case "json":
            return Codec(_to_json, _from_json)
        case "pickle":
            if cache.kind != "local" and "encryption_keys=" not in repr(cache):
                warnings.warn(
                    "who can write to the server can run code in this program by a pickled value: "
                    'prefer codec="json", or set encryption_keys',
                    RuntimeWarning,
                    stacklevel=4,
                )
            return Codec(_to_pickle, pickle.loads)
        case "msgpack":
            return _msgpack()
        case (encode, decode) if callable(encode) and callable(decode):
            return Codec(encode, decode)
    raise TypeError('a codec is "json", "pickle", "msgpack", or a pair of functions (encode, decode)')
