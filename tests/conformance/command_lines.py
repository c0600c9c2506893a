# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command line share: a model, its data, a run of the command calibration."""

import os
import signal
from pathlib import Path

import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from amct_tensorflow.cmd_line.command import main

v1 = tf.compat.v1
SHAPE = "input:32,8,8,3"


@pytest.fixture(autouse=True)
def model():
    models.float_pb("m.pb")


def batches(count=2):
    return [models.images(32, seed=i) for i in range(count)]


def write_bins(folder="data", count=2):
    os.makedirs(folder)
    for i, batch in enumerate(batches(count)):
        batch.tofile("{}/{}.bin".format(folder, i))


def run(*changes, **more):
    """A calibration; `changes` take the place of options, or, ending in "=", leave one out."""
    given = {
        "model": "m.pb",
        "save_path": "out/m",
        "outputs": models.OUTPUT + ":0",
        "input_shape": SHAPE,
        "data_dir": "data",
        "data_types": "float32",
        "record_file": "record.txt",
    }
    given.update(more)
    return main(["calibration"] + ["--{}={}".format(name, given[name]) for name in given if given[name]] + list(changes))


def by_script(data, batch_num=None):
    """The record of the Python flow."""
    graph = models.load("m.pb")
    amct.create_quant_config("own.json", graph, batch_num=batch_num or len(data))
    amct.quantize_model(graph, "own.json", "own.txt")
    models.run(graph, data)
    amct.save_model("m.pb", [models.OUTPUT], "own.txt", "own")
    return Path("own.txt").read_bytes()


def hear_interrupts():
    """In a process that is started: tests that run in the background of a shell ignore Ctrl-C, and hand that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def nothing_written():
    return not os.path.exists("out") and not os.path.exists("record.txt")


def feature(value):
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if value.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=value.reshape(-1)))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=value.reshape(-1)))


def write_tfrecord(path, values, key="input"):
    with v1.python_io.TFRecordWriter(path) as writer:
        for value in values:
            example = tf.train.Example(features=tf.train.Features(feature={key: feature(value)}))
            writer.write(example.SerializeToString())


def write_uneven_bins(data):
    os.mkdir("data")
    data[:10].tofile("data/1.bin")
    data[10:].tofile("data/2.bin")
