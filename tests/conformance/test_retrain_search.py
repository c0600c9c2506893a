# SPDX-License-Identifier: Apache-2.0
"""The search for the shift N: what the record says, held against the accumulators of the saved model."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
import retraining
from retraining import LAYERS, OUTPUT, Network

v1 = tf.compat.v1
BATCHES = 2


def config(**more):
    """The default configuration, with `batch_num` and what is given, in retrain.json."""
    with tf.Graph().as_default() as graph:
        Network().build(True)
        amct.create_quant_retrain_config("retrain.json", graph)
    settings = json.loads(Path("retrain.json").read_text())
    assert "search_n" not in settings  # off by default
    settings.update(batch_num=BATCHES, **more)
    Path("retrain.json").write_text(json.dumps(settings))


def search(batches):
    """Runs the last of the retrain_ops on each batch; what it gave. Freezes the graph."""
    with tf.Graph().as_default() as graph:
        Network(seed=9).build(False)
        last = amct.create_quant_retrain_model(graph, "retrain.json", "record.txt")[-1]
        with v1.Session(graph=graph) as session:
            v1.train.Saver(v1.global_variables()).restore(session, "./trained")
            given = [session.run(last, {"input:0": batch}) for batch in batches]
            models.freeze(session, "retrained.pb")
    return given


def shifts():
    """{layer: N by channel} of the record."""
    found = {}
    for body in re.split(r"^record \{", Path("record.txt").read_text(), flags=re.M)[1:]:
        found[re.search(r'key: "(.*)"', body).group(1)] = [int(n) for n in re.findall(r"shift_bit: (\d+)", body)]
    return found


def accumulators(batches):
    """{layer: largest and smallest accumulator by channel} of the saved model."""
    graph = models.load("model_quantized.pb")
    found = {}
    with v1.Session(graph=graph) as session:
        for layer in LAYERS:
            name = layer.rpartition("/")[0] + "/dequant/AscendDequant"
            if layer.endswith("AvgPool"):
                name = name.replace("dequant", "dequant_1")
            node = graph.get_operation_by_name(name)
            values = [session.run(node.inputs[0], {"input:0": batch}) for batch in batches]
            values = np.concatenate([value.reshape(-1, value.shape[-1]) for value in values])
            found[layer] = values.max(axis=0), values.min(axis=0)
    return found


def least(high, low):
    """The definition: the first N that brings both ends into int16."""
    for n in range(17):
        if -32768 <= np.floor(low / 2.0**n) and np.floor(high / 2.0**n) <= 32767:
            return n
    raise AssertionError((high, low))


def test_shifts_are_the_least_that_keep_accumulators_in_16_bits():
    config(search_n=True)
    retraining.train(steps=BATCHES + 2)
    batches = [8 * retraining.batch(90 + i)[0] for i in range(BATCHES)]
    assert search(batches) == [0, len(LAYERS)]
    found = shifts()
    assert found["block/AvgPool"] == []
    assert [len(found[layer]) for layer in LAYERS] == [8, 8, 0, 1]
    record = Path("record.txt").read_text()
    plain = re.sub(r" *shift_bit: \d+\n", "", record)
    Path("plain.txt").write_text(plain)
    amct.save_quant_retrain_model("retrained.pb", [OUTPUT], "plain.txt", "model")
    any_shift = False
    for layer, (high, low) in accumulators(batches).items():
        if not found[layer]:
            continue
        wanted = [least(*ends) for ends in zip(high, low)]
        wanted = wanted if len(found[layer]) > 1 else [max(wanted)]
        if any(wanted):
            wanted = [max(n, 1) for n in wanted]
        assert found[layer] == wanted, layer
        any_shift = any_shift or any(wanted)
    assert any_shift

    # and the saved model shifts by them, without saturating
    unshifted = models.run(models.load("model_quantized.pb"), batches[:1])[0]
    amct.save_quant_retrain_model("retrained.pb", [OUTPUT], "record.txt", "model")
    shifted = models.run(models.load("model_quantized.pb"), batches[:1])[0]
    assert shifted.tobytes() != unshifted.tobytes() and np.abs(shifted - unshifted).max() < 0.05


def test_the_record_waits_for_all_batches():
    config(search_n=True)
    retraining.train(steps=BATCHES + 1)
    batch = retraining.batch(90)[0]
    assert search([batch]) == [0] and Path("record.txt").read_text() == ""
    with pytest.raises(amct.NotReadyError, match="run the last of the retrain_ops"):
        amct.save_quant_retrain_model("retrained.pb", [OUTPUT], "record.txt", "model")
    assert search([batch[:0], batch, batch, 1000 * batch]) == [0, 0, len(LAYERS), len(LAYERS)]
    often = Path("record.txt").read_text()
    assert search([batch, batch]) == [0, len(LAYERS)]  # later batches do not count
    assert Path("record.txt").read_text() == often


def test_without_the_option_there_are_no_shifts():
    config()
    retraining.train(steps=BATCHES + 1)
    assert search([retraining.batch(90)[0]]) == [len(LAYERS)]
    assert "shift_bit" not in Path("record.txt").read_text()


def test_the_option_stands_in_both_configurations():
    Path("r.cfg").write_text("search_n: true")
    graph = models.graph_of()
    amct.create_quant_retrain_config("c.json", graph, "r.cfg")
    assert json.loads(Path("c.json").read_text())["search_n"] is True
    Path("c.json").write_text('{"search_n": 3, "head/MatMul": {"retrain_enable": true}}')
    with pytest.raises(amct.ConfigError, match="search_n is 3: true or false"):
        amct.create_quant_retrain_model(graph, "c.json", "record.txt")
