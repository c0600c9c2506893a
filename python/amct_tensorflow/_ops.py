# SPDX-License-Identifier: Apache-2.0
"""TensorFlow, and the ops of the package in it.

The op library registers its ops once, in a constructor, and only if TensorFlow is already
there. So TensorFlow is imported first, nothing but tf.load_op_library ever opens the
library, and graph nodes are made from NodeDefs: the wrappers that load_op_library
returns are empty where another copy of the library was loaded before.
"""

from . import _core

try:
    import tensorflow as tf
except ImportError as missing:
    raise ImportError(
        "amct_tensorflow needs TensorFlow, which is not installed: for Python 3.10 to 3.13 "
        "'pip install tensorflow-cpu==2.21.0', for Python 3.7 "
        "'pip install tensorflow==1.15.5 \"protobuf<3.21\"'"
    ) from missing

OPS_LIBRARY = "libamct_tf_ops.so"

v1 = tf.compat.v1

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
