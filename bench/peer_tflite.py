# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's TFLite converter on the same model and pictures, as a process of its own: peer_tflite.py MODEL.pb PICTURES.npy"""

import sys

import numpy as np
import tensorflow as tf

pictures = np.load(sys.argv[2], mmap_mode="r")
converter = tf.compat.v1.lite.TFLiteConverter.from_frozen_graph(sys.argv[1], ["input"], ["logits"], {"input": [1, 224, 224, 3]})
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([np.ascontiguousarray(pictures[i : i + 1])] for i in range(len(pictures)))
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
with open("peer_tflite.tflite", "wb") as file:
    file.write(converter.convert())
