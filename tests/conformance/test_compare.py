# SPDX-License-Identifier: Apache-2.0
"""compare: measures against NumPy, the order, the report, and what is refused."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import amct_tensorflow as amct
import models
import random_nets
from test_flow_live import old_control_flow
from test_ops import away

v1 = tf.compat.v1
F32 = np.float32


@pytest.fixture
def net(tmp_path):
    return random_nets.quantize(4, tmp_path / "net")


def fetch(path, tensors, x):
    with v1.Session(graph=models.load(path)) as session:
        return session.run(tensors, {"x:0": x})


def sqnr(f, q):
    f, q = f.astype(np.float64), q.astype(np.float64)
    return 10 * np.log10(np.sum(f * f) / np.sum((f - q) ** 2))


def layers_of(path):
    """{layer: (AscendQuant, AscendDequant)} as names say it."""
    found = {}
    for node in models.load(path).get_operations():
        if node.type == "AscendQuant":
            found[[op.name for op in node.outputs[0].consumers()][0]] = node
    return found


def test_measures_against_numpy(net, capsys):
    float_pb, quantized = net
    x = random_nets.pictures(11, 5)
    rows = amct.compare(float_pb, quantized, ["y"], {"x:0": x})
    by_layer = {row.layer: row for row in rows}
    quants = layers_of(quantized)
    assert set(by_layer) == set(quants) | {"y"}
    assert [row.sqnr_db for row in rows] == sorted(row.sqnr_db for row in rows)
    for layer, quant in quants.items():
        row = by_layer[layer]
        dequant = layer.rpartition("/")[0] + "/dequant/AscendDequant:0"
        source, q = fetch(quantized, [quant.inputs[0].name, dequant], x)
        (f,) = fetch(float_pb, [row.tensor + ":0"], x)
        assert row.op == models.op_types(models.load(float_pb))[layer]
        assert row.sqnr_db == pytest.approx(sqnr(f, q), rel=1e-9)
        assert row.cosine == pytest.approx(
            np.vdot(f.astype(float), q.astype(float)) / np.linalg.norm(f.astype(float)) / np.linalg.norm(q.astype(float)), rel=1e-9
        )
        steps = away(source * F32(quant.get_attr("scale"))) + F32(quant.get_attr("offset"))
        assert row.clipped == np.mean((steps > 127) | (steps < -128))
    (f,), (q,) = fetch(float_pb, ["y:0"], x), fetch(quantized, ["y:0"], x)
    assert by_layer["y"] == ("y", "output", "y", pytest.approx(sqnr(f, q), rel=1e-9), by_layer["y"].cosine, None)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(rows) + 1
    for line, row in zip(printed[1:], rows):
        assert line.startswith(row.layer) and "{:.1f}".format(row.sqnr_db) in line


def test_batches_add_up(net):
    x = random_nets.pictures(12, 6)
    whole = amct.compare(net[0], net[1], ["y"], {"x": x})
    parts = amct.compare(net[0], net[1], ["y"], [{"x": x[:1]}, {"x:0": x[1:]}])
    for one, other in zip(whole, parts):
        assert one.layer == other.layer and one.clipped == other.clipped
        assert one.sqnr_db == pytest.approx(other.sqnr_db, rel=1e-6)


def test_clipping_is_seen(net):
    x = random_nets.pictures(4, 6)
    calm, wild = (
        {row.layer: row for row in amct.compare(net[0], net[1], ["y"], {"x": x * by})} for by in (1, 30)
    )
    first = "net/conv2d_1/Conv2D"
    assert calm[first].clipped < 0.01 < 0.5 < wild[first].clipped
    assert wild[first].sqnr_db < calm[first].sqnr_db - 10


def test_what_is_not_finite_comes_first(net):
    x = random_nets.pictures(4, 2)
    x[0, 3, 3, 0] = np.nan
    rows = amct.compare(net[0], net[1], ["y"], {"x": x})
    assert math.isnan(rows[0].sqnr_db) and math.isnan(rows[0].cosine)


def test_names_are_the_users(tmp_path):
    """A layer that is an output moves aside; batch norms are folded; compare speaks of what the user wrote."""
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, (None, 4, 4, 2), name="x")
        w = tf.constant(np.random.RandomState(0).normal(size=(1, 1, 2, 3)).astype(F32))
        tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME", name="a/conv")
        c = tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME", name="b/conv")
        ones = np.ones(3, F32)
        v1.nn.fused_batch_norm(c, ones, ones, ones, 2 * ones, is_training=False, name="b/norm")[0]
    pb = models.write_pb(graph.as_graph_def(), "m.pb")
    amct.create_quant_config("c.json", graph)
    amct.quantize_model(graph, "c.json", "r.txt")
    feed = {"x:0": np.random.RandomState(1).normal(size=(3, 4, 4, 2)).astype(F32)}
    with v1.Session(graph=graph) as session:
        session.run(["a/conv:0", "b/norm:0"], feed)
    amct.save_model(pb, ["a/conv", "b/norm"], "r.txt", "q/m")
    rows = amct.compare(pb, "q/m_quantized.pb", ["a/conv", "b/norm"], feed)
    assert sorted((row.layer, row.op, row.tensor) for row in rows) == [
        ("a/conv", "Conv2D", "a/conv"), ("a/conv", "output", "a/conv"),
        ("b/conv", "Conv2D", "b/norm"), ("b/norm", "output", "b/norm"),
    ]  # fmt: skip
    assert min(row.sqnr_db for row in rows) > 25


def test_layers_that_cannot_be_looked_at(capfd):
    """Those of loops and of branches not taken are left out, with a warning."""
    with tf.Graph().as_default() as graph, old_control_flow():
        x = v1.placeholder(tf.float32, (None,) + models.IMAGE, name="input")
        flag = v1.placeholder_with_default(True, [], name="flag")
        w = np.random.RandomState(1).normal(size=(1, 1, 3, 3)).astype(F32)

        def conv(name):
            return lambda i=0, y=x: tf.nn.conv2d(y, w, strides=[1, 1, 1, 1], padding="SAME", name=name)

        y = v1.cond(flag, conv("taken"), conv("other"))
        y = v1.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, conv("turn")(i, y)), [0, y])[1]
    graph.get_operation_by_name("while/Exit_1")  # an output that is the end of a loop
    pb = models.write_pb(graph.as_graph_def(), "model.pb")
    feed = {"input": models.images(4)}
    amct.create_quant_config("config.json", graph, batch_num=2)
    amct.quantize_model(graph, "config.json", "record.txt")
    with v1.Session(graph=graph) as session:
        for taken in (True, False, True, False):
            session.run("while/Exit_1:0", {"input:0": feed["input"], "flag:0": taken})
    amct.save_model(pb, ["while/Exit_1"], "record.txt", "model")
    rows = amct.compare(pb, "model_quantized.pb", ["while/Exit_1"], feed)
    assert {row.layer for row in rows} == {"cond/taken", "while/Exit_1"}
    warned = capfd.readouterr().err
    assert "cond/other is left out: in a branch" in warned and "while/turn is left out: inside a while loop" in warned
    both = amct.compare(pb, "model_quantized.pb", ["while/Exit_1"], [feed, dict(feed, flag=False)])
    assert {row.layer for row in both} == {"cond/taken", "cond/other", "while/Exit_1"}


# ---- the report ----


class Page(HTMLParser):
    """Checks that tags close, counts rows, and that nothing points outside."""

    def __init__(self):
        HTMLParser.__init__(self)
        self.open, self.rows, self.text, self.bars = [], 0, [], 0

    def handle_starttag(self, tag, attrs):
        assert not {"src", "href", "onload"} & set(dict(attrs)) and tag not in ("script", "link", "img")
        self.rows += tag == "tr"
        self.bars += dict(attrs).get("class") == "bar"
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_html(net):
    rows = amct.compare(net[0], net[1], ["y"], {"x": random_nets.pictures(2)}, html="made/report.html")
    text = Path("made/report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert not page.open and page.rows == len(rows) + 1 and page.bars == 2 * len(rows)
    assert not re.search(r"https?:|url\(|@import", text)
    words = " ".join(page.text)
    assert all(row.layer in words and "{:.1f}".format(row.sqnr_db) in words for row in rows)
    assert [p.name for p in Path("made").iterdir()] == ["report.html"]


def test_html_escapes_names():
    row = amct.Comparison("<b>&\"'", "Conv2D", "</td>", -math.inf, 0.5, 0.25)
    text = amct._compare._compare_report.page([row, row._replace(sqnr_db=math.nan)], "<i>.pb", "q&.pb")
    page = Page()
    page.feed(text)
    assert not page.open and "<b>" not in text and "<i>" not in text
    assert "<b>&\"'" in page.text


# ---- what is refused ----


def refuse(exception, words, *arguments, **keywords):
    with pytest.raises(exception) as caught:
        amct.compare(*arguments, **keywords)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_refused_feeds(net):
    x = random_nets.pictures(1)
    run = [net[0], net[1], ["y"]]
    refuse(ValueError, ["no tensor 'images'", "'x'"], *run, feeds={"images": x})
    refuse(ValueError, ["lacks the input 'x'"], *run, feeds={})
    refuse(ValueError, ["feeds['x'] has shape (4, 9, 9)", "9, 9, 3"], *run, feeds={"x": x[..., 0]})
    refuse(ValueError, ["feeds['x'] is no array of float32"], *run, feeds={"x": "picture.png"})
    refuse(TypeError, ["feeds must be a dict", "ndarray"], *run, feeds=x)
    refuse(TypeError, ["feeds must be a dict"], *run, feeds=[x])
    refuse(ValueError, ["feeds is empty"], *run, feeds=[])
    refuse(ValueError, ["no node 'z'", "net.pb"], net[0], net[1], ["z"], {"x": x})
    refuse(ValueError, ["without ':0'"], net[0], net[1], ["y:0"], {"x": x})
    refuse(TypeError, ["html must be a str"], *run, feeds={"x": x}, html=3)


def test_refused_files(net, tmp_path):
    feeds = {"x": random_nets.pictures(1)}
    float_pb, quantized = net
    information = Path(quantized.replace("quantized.pb", "quant.json"))
    kept = information.read_text()
    refuse(amct.FileError, ["absent.pb"], "absent.pb", quantized, ["y"], feeds)
    refuse(ValueError, ["does not end in quantized.pb"], float_pb, float_pb, ["y"], feeds)
    (tmp_path / "junk.pb").write_text("no graph")
    refuse(amct.FormatError, ["junk.pb"], str(tmp_path / "junk.pb"), quantized, ["y"], feeds)
    for text in ("{", "[]", '{"graph": [{"op": [1]}]}'):
        information.write_text(text)
        refuse(amct.FormatError, ["net_quant.json"], float_pb, quantized, ["y"], feeds)
    information.write_text('{"graph": [{"op": []}]}')
    refuse(amct.FormatError, ["net_quant.json", "belongs to another model"], float_pb, quantized, ["y"], feeds)
    information.unlink()
    refuse(amct.FileError, ["net_quant.json is missing", "save_model"], float_pb, quantized, ["y"], feeds)
    information.write_text(kept)
    plain = tmp_path / "plain_quantized.pb"
    plain.write_bytes(Path(float_pb).read_bytes())
    (tmp_path / "plain_quant.json").write_text(kept)
    refuse(amct.UnsupportedError, ["no quantized layers"], float_pb, str(plain), ["y"], feeds)
    other, _ = random_nets.quantize(1, tmp_path / "other")
    refuse(amct.GraphError, ["do not belong together"], other, quantized, ["y"], feeds)
    refuse(amct.FileError, ["dir"], float_pb, quantized, ["y"], feeds, html="/proc/dir/report.html")
