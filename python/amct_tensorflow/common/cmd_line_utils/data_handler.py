# SPDX-License-Identifier: Apache-2.0
"""Batches of calibration data, as the evaluators of the original load them."""

from typing import Any, Dict, Iterator, List, Sequence

from ...cmd_line import calibration, samples


def load_data(
    input_shape_dict: Dict[str, Sequence[int]],
    data_dirs: List[str],
    data_types: List[str],
    batch_num: int,
) -> Iterator[Dict[str, Any]]:
    """Feed dicts of `batch_num` batches.

    Args:
      input_shape_dict: dict, tensor name -> shape of a batch.
      data_dirs: list of str, folders or files, in the order of the inputs.
      data_types: list of str, such as "float32", in the same order.
      batch_num: int > 0.

    Raises:
      ArgumentError: counts, shapes or types that do not fit, or fewer samples than that.
      FileError, FormatError: data that cannot be read.
    """
    shapes = [(name, list(shape)) for name, shape in input_shape_dict.items()]
    inputs = calibration.inputs_of(shapes, data_types, data_dirs)
    return samples.batches(inputs, [samples.open_source(of) for of in inputs], batch_num)
