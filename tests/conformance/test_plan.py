# SPDX-License-Identifier: Apache-2.0
"""One plan: what a live graph with variables is planned to become equals what its frozen pb becomes."""
import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow._core as core

v1 = tf.compat.v1
F32 = np.float32


def variable(name, shape, resource):
    return v1.get_variable(name, shape, use_resource=resource, initializer=v1.ones_initializer())


def batch_norm(y, name, resource, training=False):
    channels = int(y.shape[-1])
    parameters = [variable("%s_%s" % (name, p), [channels], resource) for p in ("g", "b", "m", "v")]
    if training:
        return v1.nn.fused_batch_norm(y, *parameters[:2], is_training=True, name=name)[0]
    return v1.nn.fused_batch_norm(y, *parameters, is_training=False, name=name)[0]


def conv(x, name, out, resource, bias=False, size=3):
    w = variable(name + "_w", [size, size, int(x.shape[-1]), out], resource)
    y = tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME", name=name)
    return tf.nn.bias_add(y, variable(name + "_b", [out], resource)) if bias else y


def chain(x, resource):
    y = tf.nn.relu(batch_norm(conv(x, "c1", 8, resource), "bn1", resource))
    w = variable("dw_w", [3, 3, 8, 2], resource)
    y = v1.nn.depthwise_conv2d_native(y, w, [1, 1, 1, 1], "SAME", name="dw")
    y = batch_norm(batch_norm(y, "bn2", resource), "bn3", resource)
    y = tf.nn.avg_pool2d(y, 8, 8, "VALID", name="pool")
    y = conv(y, "logits", 5, resource, bias=True, size=1)
    return tf.matmul(tf.reshape(y, [-1, 5]), variable("fc_w", [5, 3], resource), name="fc")


def declined(x, resource):
    y = conv(x, "c1", 8, resource)
    z = batch_norm(y, "bn1", resource) + tf.nn.relu(y)
    z = batch_norm(tf.nn.relu(z), "bn2", resource)
    return batch_norm(conv(z, "c2", 4, resource), "bn3", resource, training=True)


def transposed(x, resource):
    flat = tf.reshape(x, [-1, 192])
    y = tf.matmul(flat, variable("w", [7, 192], resource), transpose_b=True, name="no")
    return tf.matmul(y, tf.transpose(variable("v", [3, 7], resource)), name="computed")


@pytest.mark.parametrize("resource", [False, True])
@pytest.mark.parametrize("network", [chain, declined, transposed])
def test_live_plan_is_the_frozen_plan(network, resource):
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], name="x")
        tf.identity(network(x, resource), name="y")
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            live = graph.as_graph_def().SerializeToString()
            frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["y"])
    live_plan = core.describe_plan(live)
    assert live_plan == core.describe_plan(frozen.SerializeToString())
    assert len(live_plan.splitlines()) >= 2
    if network is chain:
        assert live_plan.count("fold fold_conv_bn") == 3
        assert "layer Conv2D logits per_tensor 5" in live_plan
    if network is declined:
        assert live_plan.count("keep fold_conv_bn") == 2
        assert live_plan.count("keep fold_bn_conv") == 1
