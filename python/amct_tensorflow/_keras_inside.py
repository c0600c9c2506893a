# SPDX-License-Identifier: Apache-2.0
"""Attributes of Keras layers that read otherwise inside the layer's own call."""

import contextlib
import threading
from typing import Any, Callable, Dict, Iterator, Tuple

Replaced = Dict[str, Callable[[Any], Any]]  # by attribute: what its value becomes

_thread = threading.local()  # call: the layer that is called, and what is replaced there
_NO_CALL: Tuple[Any, Replaced] = (None, {})


@contextlib.contextmanager
def inside(layer: Any, replaced: Replaced) -> Iterator[None]:
    """The call of a layer whose class has the attributes as `attribute` makes them."""
    before = getattr(_thread, "call", _NO_CALL)
    _thread.call = (layer, replaced)
    try:
        yield
    finally:
        _thread.call = before


def plain(layer: Any, name: str) -> Any:
    """What an attribute is, whether the layer is being called or not."""
    with inside(None, {}):
        return getattr(layer, name)


def attribute(kind: type, name: str) -> property:
    """An attribute for a subclass of `kind`."""
    inherited = getattr(kind, name, None)

    def read(self: Any) -> Any:
        if isinstance(inherited, property):
            value = inherited.fget(self)  # type: ignore[misc]
        elif name in self.__dict__:
            value = self.__dict__[name]
        else:
            raise AttributeError(name)
        layer, replaced = getattr(_thread, "call", _NO_CALL)
        return replaced[name](value) if layer is self and name in replaced else value

    def write(self: Any, value: Any) -> None:
        if isinstance(inherited, property) and inherited.fset is not None:
            inherited.fset(self, value)
        else:
            self.__dict__[name] = value

    return property(read, write)
