# SPDX-License-Identifier: Apache-2.0
"""Retraining of layers inside the old control flow."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
from test_flow_live import old_control_flow

v1 = tf.compat.v1
F32 = np.float32


def in_a_branch(x, pred):
    weights = v1.get_variable("branch/w", initializer=np.ones((1, 1, 3, 2), F32))
    return v1.cond(
        pred,
        lambda: tf.nn.conv2d(x, weights, strides=[1, 1, 1, 1], padding="SAME", name="conv"),
        lambda: x[..., :2] * 2,
    )


def in_a_loop(x):
    weights = v1.get_variable("loop/w", initializer=np.ones((1, 1, 3, 3), F32))
    return v1.while_loop(
        lambda i, _: i < 2,
        lambda i, y: (i + 1, tf.nn.conv2d(y, weights, [1, 1, 1, 1], "SAME", name="looped")),
        [0, x],
    )[1]


def test_layers_of_a_branch_are_retrained_when_it_is_taken():
    with tf.Graph().as_default() as graph, old_control_flow():
        x = v1.placeholder(tf.float32, (None, 4, 4, 3))
        pred = v1.placeholder(tf.bool, ())
        y = in_a_branch(x, pred)
        amct.create_quant_retrain_config("c.json", graph)
        added = amct.create_quant_retrain_model(graph, "c.json", "record.txt")
        step = v1.train.GradientDescentOptimizer(0.01).minimize(tf.reduce_mean(y**2))
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            data = np.random.RandomState(0).normal(0, 1, (2, 4, 4, 3)).astype(F32)
            session.run(step, {x: data, pred: False})
            assert session.run(added[:-1]) == [0, 0, 0, 0]
            session.run(step, {x: data, pred: True})
            assert session.run(added[0]) > 0
            session.run(added[-1], {x: data, pred: True})
    assert list(models.read_record("record.txt")) == ["cond/conv"]


def test_layers_of_a_loop_are_not_retrained():
    with tf.Graph().as_default() as graph, old_control_flow():
        x = v1.placeholder(tf.float32, (None, 4, 4, 3))
        y = tf.nn.conv2d(in_a_loop(x), np.ones((1, 1, 3, 2), F32), [1, 1, 1, 1], "SAME", name="last")
        assert y is not None
        amct.create_quant_retrain_config("c.json", graph)
        config = json.loads(Path("c.json").read_text())
        assert [key for key in config if "retrain_enable" in str(config[key])] == ["last"]
        config["while/looped"] = {"retrain_enable": True}
        Path("c.json").write_text(json.dumps(config))
        with pytest.raises(amct.ConfigError, match="inside a while loop, which is not retrained"):
            amct.create_quant_retrain_model(graph, "c.json", "record.txt")
