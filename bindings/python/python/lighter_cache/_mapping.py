"""What `keys()`, `values()` and `items()` of a LocalCache return.

An iteration sees the keys of the moment when it began. Entries that have expired or were removed since
then are passed over, and nothing that is added later shows up; the cache may change meanwhile.
"""

from collections.abc import ItemsView, Iterator, KeysView, ValuesView

from ._native import LocalCache


class Keys(KeysView[str]):
    """The keys, as str."""

    _mapping: LocalCache


class Values(ValuesView[bytes]):
    """The values."""

    _mapping: LocalCache

    def __iter__(self) -> Iterator[bytes]:
        for _, value in Items(self._mapping):
            yield value

    def __contains__(self, value: object) -> bool:
        return any(value == one for one in self)


class Items(ItemsView[str, bytes]):
    """The keys with their values."""

    _mapping: LocalCache

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for key in self._mapping:
            value = self._mapping.get(key)
            if value is not None:
                yield key, value
