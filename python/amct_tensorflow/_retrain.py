# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware retraining: configuration, training graph, quantized model."""

from typing import Any, Optional

from . import _arguments, _core, _gradients, _live

_gradients.register()


def create_quant_retrain_config(
    config_file: str, graph: Any, config_defination: Optional[str] = None
) -> None:
    """Writes the configuration for quantization-aware retraining of a graph, a JSON file.

    Args:
      config_file: str, path to write. Missing folders are made, a file there is replaced.
      graph: tf.Graph, the training graph, without gradients yet. It is only read.
      config_defination: str, path of a simplified configuration (.cfg, protobuf text) for
        retraining; None for the defaults.

    Raises:
      as create_quant_config.
    """
    config_file = _arguments.path("config_file", config_file)
    graph = _arguments.graph(graph)
    if config_defination is not None:
        config_defination = _arguments.path("config_defination", config_defination)
    _core.create_quant_retrain_config(config_file, _live.serialize(graph), config_defination)
