# SPDX-License-Identifier: Apache-2.0
"""TensorFlow, and the ops of the package in it.

The op library registers its ops once, in a constructor, and only if TensorFlow is already
there. So TensorFlow is imported first, nothing but tf.load_op_library ever opens the
library, and graph nodes are made from NodeDefs: the wrappers that load_op_library
returns are empty where another copy of the library was loaded before.
"""

import re
from typing import Any

from . import _core

_WANTED = (
    ": for Python 3.10 to 3.13 'pip install tensorflow-cpu==2.21.0', for Python 3.7 "
    "'pip install tensorflow==1.15.5 \"protobuf<3.21\"'"
)

try:
    import tensorflow as tf
except ModuleNotFoundError as missing:
    if missing.name != "tensorflow":
        raise
    raise ImportError(
        "amct_tensorflow needs TensorFlow, which is not installed" + _WANTED
    ) from None


def _check_version() -> None:
    version = str(getattr(tf, "__version__", "?"))  # none of a folder that is left over
    numbers = [int(part) if part.isdigit() else 0 for part in (version + ".0").split(".")[:2]]
    if numbers != [1, 15] and numbers < [2, 12]:
        raise ImportError(
            "amct_tensorflow needs TensorFlow 1.15, or 2.12 or later; {} is installed{}".format(
                version, _WANTED
            )
        )


_check_version()
v1 = tf.compat.v1

OPS_LIBRARY = "libamct_tf_ops.so"

OPS = (
    "QuantIfmr",
    "QuantArq",
    "AscendQuant",
    "AscendDequant",
    "AscendWeightQuant",
    "AscendAntiQuant",
    "UlqGrad",
    "UlqRange",
    "UlqGuard",
    "RetrainFactors",
    "RetrainRecord",
)


def error_line(error: Any) -> str:
    """What an op says in a tf.errors.OpError, without the places where the graph was built."""
    message = str(error.message)
    text = re.sub(r"(?s)^Graph execution error:.*?\nNode: '[^\n]*\n", "", message)
    text = re.sub(r"^\d+ root error\(s\) found\.\s*\(0\) [^:]*: *", "", text)
    return text.strip().split("\n")[0] or message


def _register_no_gradients() -> None:
    """tf.gradients through a calibrated or quantized graph stops at these ops."""
    for op in OPS:
        try:
            tf.no_gradient(op)
        except KeyError:  # by an earlier copy of this module
            pass


# Its functions make the ops outside graphs; none where another copy was loaded before.
library = tf.load_op_library(_core.library_path(OPS_LIBRARY))
_register_no_gradients()
