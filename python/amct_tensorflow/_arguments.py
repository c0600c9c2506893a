# SPDX-License-Identifier: Apache-2.0
"""Checks of the arguments that users give: TypeError or ValueError, naming the argument."""

import operator
import os
from typing import Any, List

from ._core import LEVELS
from ._ops import tf

FILE_NAME_CHARACTERS = 254


def _refuse(name: str, value: Any, wanted: str) -> TypeError:
    return TypeError(
        "{} must be {}, not {} ({!r:.80})".format(name, wanted, type(value).__name__, value)
    )


def text(name: str, value: Any) -> str:
    """A str that is not empty."""
    if not isinstance(value, str):
        raise _refuse(name, value, "a str")
    if not value:
        raise ValueError("{} is empty".format(name))
    return value


def path(name: str, value: Any, suffix: str = "") -> str:
    """A path to a file (or the prefix of one that ends in `suffix`), as str."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    value = text(name, value)
    if value.endswith("/") and not suffix:
        raise ValueError("{}: {!r} names a folder, not a file".format(name, value))
    if len(os.path.basename(value) + suffix) > FILE_NAME_CHARACTERS:
        raise ValueError(
            "{}: the file name is longer than {} characters".format(name, FILE_NAME_CHARACTERS)
        )
    return value


def graph(value: Any) -> Any:
    """A tf.Graph."""
    if not isinstance(value, tf.Graph):
        raise _refuse("graph", value, "a tf.Graph")
    return value


def flag(name: str, value: Any) -> bool:
    """A bool; no number stands in for one."""
    if not isinstance(value, bool):
        raise _refuse(name, value, "a bool")
    return value


def positive(name: str, value: Any) -> int:
    """An int from 1 to 2^63-1, NumPy's too, but no bool."""
    if isinstance(value, bool):
        raise _refuse(name, value, "an int")
    try:
        number = operator.index(value)
    except TypeError:
        raise _refuse(name, value, "an int") from None
    if not 0 < number < 2**63:
        raise ValueError("{} must be greater than 0, not {}".format(name, number))
    return number


def names(name: str, value: Any) -> List[str]:
    """A list (or tuple) of names, each a str that is not empty."""
    if not isinstance(value, (list, tuple)):
        raise _refuse(name, value, "a list of str")
    return [text("{}[{}]".format(name, i), item) for i, item in enumerate(value)]


def outputs(name: str, value: Any) -> List[str]:
    """A list of op names, at least one, none with ':0'."""
    result = names(name, value)
    if not result:
        raise ValueError("{} is empty: name the output ops of the model".format(name))
    for item in result:
        if ":" in item:
            raise ValueError(
                "{} takes names of ops, without ':0': {!r} instead of {!r}".format(
                    name, item.partition(":")[0], item
                )
            )
    return result


def graph_outputs(name: str, value: Any, owner: Any) -> List[str]:
    """Names of output ops of `owner`, given as names, tensors or ops; None: no names."""
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise _refuse(name, value, "a list of output ops")
    result = []
    for i, item in enumerate(value):
        item = getattr(item, "name", item)  # tf.Tensor, tf.Operation
        op = text("{}[{}]".format(name, i), item).partition(":")[0]
        try:
            owner.get_operation_by_name(op)
        except KeyError:
            raise ValueError("{}: the graph has no op {!r}".format(name, op)) from None
        result.append(op)
    return result


def level(name: str, value: Any) -> int:
    """A level of the log by name, in any case; returns its index in LEVELS."""
    if not isinstance(value, str):
        raise _refuse(name, value, "a str")
    if value.lower() not in LEVELS:
        raise ValueError("{}: {!r} is not one of {}".format(name, value, ", ".join(LEVELS)))
    return LEVELS.index(value.lower())
