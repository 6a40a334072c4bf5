"""The keys of a memoized function: its name, and its arguments as text, for instance ``app.views.page('en',2,)``.

Calls that mean the same have one key: keyword arguments are written where they would stand by position, and
defaults as if they had been given.
"""

import hashlib
import inspect
import secrets
from collections.abc import Callable
from typing import Any

from . import _native

# A key that would be longer is shortened to a digest; the native half has the same number.
_LONGEST = 512

# Stands for a default that has no text of its own.
_DEFAULT = b"~"

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Keys:
    """How the calls of one function become keys."""

    def __init__(self, function: Callable[..., Any], key: Callable[..., Any] | str | None, typed: bool) -> None:
        self.typed = typed
        self.key = key
        self.head = f"{_name(function)}(".encode("utf-8", "surrogateescape")
        try:
            self._signature: inspect.Signature | None = inspect.signature(function)
        except ValueError:
            self._signature = None
        self.parameters = list(self._signature.parameters.values()) if self._signature else []
        self._defaults = {
            parameter.name: self._default(parameter)
            for parameter in self.parameters
            if parameter.default is not parameter.empty
        }

    @property
    def variadic(self) -> bool:
        """Whether the last of `tails` is also that of more positional arguments."""
        if self.key is not None:
            return False
        return self._signature is None or any(p.kind is p.VAR_POSITIONAL for p in self.parameters)

    @property
    def tails(self) -> list[bytes | None]:
        """What completes a key after so many positional arguments; None where one is missing."""
        if self.key is not None:
            return []
        positional = [p for p in self.parameters if p.kind in _POSITIONAL]
        named = [p for p in self.parameters if p.kind is p.KEYWORD_ONLY]

        def tail(given: int) -> bytes | None:
            rest = positional[given:] + named
            if any(p.default is p.empty for p in rest):
                return None
            return b"".join(self._written(p, self._defaults[p.name]) for p in rest) + b")"

        return [tail(given) for given in range(len(positional) + 1)]

    def of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """The key of any call."""
        if isinstance(self.key, str):
            return self.key.format(**self._bound(args, kwargs).arguments).encode("utf-8", "surrogateescape")
        if self.key is not None:
            made = self.key(*args, **kwargs)
            if isinstance(made, str):
                return made.encode("utf-8", "surrogateescape")
            if isinstance(made, (bytes, bytearray, memoryview)):
                return bytes(made)
            return self._short(self._text(made) + b")")
        return self._short(b"".join(self._pieces(args, kwargs)) + b")")

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        if self._signature is None:
            raise TypeError("the parameters of this function are not known: pass a callable as key=")
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound

    def _pieces(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[bytes]:
        bound = None
        if self._signature is not None:
            try:
                bound = self._signature.bind(*args, **kwargs)
            except TypeError:
                # The call itself will say what is wrong with them.
                pass
        if bound is None:
            return [b"?", *map(self._item, args), *self._sorted(kwargs)]
        pieces: list[bytes] = []
        for parameter in self.parameters:
            if parameter.kind is parameter.VAR_POSITIONAL:
                pieces += map(self._item, bound.arguments.get(parameter.name, ()))
            elif parameter.kind is parameter.VAR_KEYWORD:
                pieces += self._sorted(bound.arguments.get(parameter.name, {}))
            else:
                value = bound.arguments.get(parameter.name, parameter.default)
                same = value is parameter.default
                text = self._defaults[parameter.name] if same else self._text(value)
                pieces.append(self._written(parameter, text))
        return pieces

    def _sorted(self, kwargs: dict[str, Any]) -> list[bytes]:
        return [name.encode("utf-8", "surrogatepass") + b"=" + self._item(kwargs[name]) for name in sorted(kwargs)]

    def _text(self, value: object) -> bytes:
        return _native.encode(value, self.typed)

    def _item(self, value: object) -> bytes:
        return self._text(value) + b","

    def _written(self, parameter: inspect.Parameter, text: bytes) -> bytes:
        name = parameter.name.encode() + b"=" if parameter.kind is parameter.KEYWORD_ONLY else b""
        return name + text + b","

    def _default(self, parameter: inspect.Parameter) -> bytes:
        if type(parameter.default) is object:
            return _DEFAULT
        try:
            return self._text(parameter.default)
        except TypeError:
            return _DEFAULT

    def _short(self, rest: bytes) -> bytes:
        key = self.head + rest
        if len(key) <= _LONGEST:
            return key
        return self.head + b"#" + hashlib.blake2b(key, digest_size=32).hexdigest().encode() + b")"


def _name(function: Callable[..., Any]) -> str:
    module = getattr(function, "__module__", None) or "?"
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    code = getattr(function, "__code__", None)
    if "<" not in name:
        return f"{module}.{name}"
    # One name may be that of many functions here.
    own = getattr(function, "__closure__", None) or function.__defaults__ or function.__kwdefaults__ if code else True
    if code is None or own:
        # Two with the same code may still differ in what they refer to: such a key is this function's alone.
        return f"{module}.{name}@{secrets.token_hex(8)}"
    said = repr((code.co_code, code.co_names, [c for c in code.co_consts if not inspect.iscode(c)]))
    return f"{module}.{name}#{hashlib.blake2b(said.encode(), digest_size=8).hexdigest()}"
