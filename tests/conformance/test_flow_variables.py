# SPDX-License-Identifier: Apache-2.0
"""Graphs whose parameters are variables: restore after quantize_model, freeze, save_model."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models

v1 = tf.compat.v1

KINDS = {"ref": models.ref_variable, "resource": models.resource_variable}


@pytest.fixture(params=sorted(KINDS))
def make(request):
    return KINDS[request.param]


def train(make):
    """A checkpoint of the network ("checkpoint/model")."""
    graph = models.graph_of(lambda: models.network(make))
    with graph.as_default(), v1.Session(graph=graph) as session:
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, "checkpoint/model")


def calibrate(session, batches=1):
    for seed in range(batches):
        session.run(models.OUTPUT + ":0", {models.INPUT: models.images(16, seed)})


def constants_record():
    """The record of the same network with constants."""
    graph = models.graph_of()
    amct.create_quant_config("config.json", graph)
    amct.quantize_model(graph, "config.json", "constants.txt")
    with models.plain_session(graph) as session:
        calibrate(session)
    return Path("constants.txt").read_bytes()


def check_quantized(frozen):
    """save_model works on the frozen pb, and its result computes much the same."""
    amct.save_model(frozen, [models.OUTPUT], "record.txt", "out/model")
    batch = models.images(64, seed=7)
    expected = models.run(models.graph_of(), [batch])[0]
    found = models.run(models.load("out/model_quantized.pb"), [batch])[0]
    assert np.abs(found - expected).max() < 0.2
    assert np.mean(expected.argmax(1) == found.argmax(1)) > 0.85


def test_restore_with_a_saver_built_without_the_new_variables(make):
    train(make)
    with tf.Graph().as_default() as graph:
        models.network(make)
        amct.create_quant_config("config.json", graph)
        added = amct.quantize_model(graph, "config.json", "record.txt")
        saver = v1.train.Saver([v for v in v1.global_variables() if v not in added])
        with models.plain_session(graph) as session:
            session.run(v1.global_variables_initializer())
            saver.restore(session, "checkpoint/model")
            calibrate(session)
    assert Path("record.txt").read_bytes() == constants_record()


def test_restore_with_a_saver_built_before(make):
    train(make)
    with tf.Graph().as_default() as graph:
        models.network(make)
        saver = v1.train.Saver()
        amct.create_quant_config("config.json", graph)
        amct.quantize_model(graph, "config.json", "record.txt")
        with models.plain_session(graph) as session:
            saver.restore(session, "checkpoint/model")
            calibrate(session)
    assert Path("record.txt").read_bytes() == constants_record()


def test_an_imported_meta_graph(make):
    train(make)
    with tf.Graph().as_default() as graph:
        saver = v1.train.import_meta_graph("checkpoint/model.meta")
        amct.create_quant_config("config.json", graph)
        amct.quantize_model(graph, "config.json", "record.txt")
        with models.plain_session(graph) as session:
            saver.restore(session, "checkpoint/model")
            calibrate(session)
    assert Path("record.txt").read_bytes() == constants_record()


def test_freeze_a_graph_of_its_own_and_save(make):
    train(make)
    test_restore_with_a_saver_built_before(make)
    with tf.Graph().as_default() as graph:
        models.network(make)
        with v1.Session(graph=graph) as session:
            v1.train.Saver().restore(session, "checkpoint/model")
            frozen = models.freeze(session, "frozen.pb")
    check_quantized(frozen)


def test_freeze_the_calibrated_session_and_save(make):
    train(make)
    with tf.Graph().as_default() as graph:
        models.network(make)
        saver = v1.train.Saver()
        amct.create_quant_config("config.json", graph)
        amct.quantize_model(graph, "config.json", "record.txt")
        with models.plain_session(graph) as session:
            saver.restore(session, "checkpoint/model")
            calibrate(session)
            frozen = models.freeze(session, "frozen.pb")
    check_quantized(frozen)
    saved = models.op_types(models.load("out/model_quantized.pb"))
    assert not any(name.endswith("observed/Identity") for name in saved)
    assert not {"QuantIfmr", "QuantArq"} & set(saved.values())


def test_weights_are_those_of_the_first_batch_run(make):
    """Values that arrive between quantize_model and the first run count."""
    with tf.Graph().as_default() as graph:
        models.network(make)
        amct.create_quant_config("config.json", graph)
        amct.quantize_model(graph, "config.json", "record.txt")
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            weight = [v for v in v1.global_variables() if v.op.name == "head/w"][0]
            value = 3 * session.run(weight)
            weight.load(value, session)
            calibrate(session)
    scale = models.read_record("record.txt")["head/MatMul"]["scale_w"]
    np.testing.assert_allclose(scale, [np.abs(value).max() / 127], rtol=1e-5)
