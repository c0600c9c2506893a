# SPDX-License-Identifier: Apache-2.0
"""Quantized models in forms that need no library of ours."""

from . import _arguments, _core


def export_stock(quantized_pb: str, save_path: str) -> None:
    """Writes a quantized model with stock TensorFlow ops only.

    Writes <save_path>_stock.pb, which simulates the quantized model in any TensorFlow,
    without this package: on CPU with the same bits as the quantized model. Names of nodes
    stay; the ops in between are called <name of the op>/<part>. Missing folders are made, a
    file there is replaced.

    Args:
      quantized_pb: str, the <prefix>_quantized.pb that save_model wrote.
      save_path: str, where to write, with the first part of the file name.

    Raises:
      TypeError, ValueError: an argument of a wrong type, or with a value not allowed.
      FormatError, GraphError, FileError: the model is no pb, is no sound graph, or a file
        cannot be read or written.
      UnsupportedError: the model has no quantization ops, or some that have no stock form:
        of half or double, or with factors that are not constant.
    """
    _core.export_stock(
        _arguments.path("quantized_pb", quantized_pb),
        _arguments.path("save_path", save_path, suffix="_stock.pb"),
    )
