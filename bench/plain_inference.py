# SPDX-License-Identifier: Apache-2.0
"""Plain inference as a user's script, to measure amct calibrate against: plain_inference.py ENGINE MODEL.pb INPUT OUTPUT PICTURES.npy BATCH_SIZE"""

import sys

import numpy as np


def openvino(model, _, output, pictures, batch_size):
    """One picture at a time, which takes this library the least time."""
    import openvino

    core = openvino.Core()
    network = core.read_model(model)
    network.reshape([1] + list(pictures.shape[1:]))
    run = core.compile_model(network, "CPU")
    for picture in pictures:
        run(picture[np.newaxis])


def tensorflow(model, name, output, pictures, batch_size):
    import tensorflow.compat.v1 as tf

    with open(model, "rb") as file:
        definition = tf.GraphDef.FromString(file.read())
    with tf.Graph().as_default():
        tf.import_graph_def(definition, name="")
        with tf.Session() as session:
            for i in range(0, len(pictures), batch_size):
                session.run(output + ":0", {name + ":0": pictures[i : i + batch_size]})


engine, pb, name, output, data, batch_size = sys.argv[1:]
{"openvino": openvino, "tensorflow": tensorflow}[engine](pb, name, output, np.load(data, mmap_mode="r"), int(batch_size))
