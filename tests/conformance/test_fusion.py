# SPDX-License-Identifier: Apache-2.0
"""Fused graphs compute what they did, in TensorFlow."""

import pytest

import fusion_graphs
import models
from amct_tensorflow import ArgumentError, _core


def test_a_network_keeps_its_values():
    before = models.graph_of().as_graph_def()
    after = fusion_graphs.fuse(before, [models.OUTPUT])
    assert fusion_graphs.batch_norms(before) == 2
    assert fusion_graphs.batch_norms(after) == 0
    feeds = {models.INPUT: models.images(4)}
    fusion_graphs.check_values(before, after, feeds, [models.OUTPUT])


def test_what_fuse_model_refuses(tmp_path):
    path = models.float_pb()
    with pytest.raises(ArgumentError, match="outputs is empty"):
        _core.fuse_model(path, [], "out/model")
    with pytest.raises(ArgumentError, match="no node"):
        _core.fuse_model(path, ["nothing"], "out/model")
    with pytest.raises(OSError, match="nowhere.pb"):
        _core.fuse_model("nowhere.pb", [models.OUTPUT], "out/model")
    assert not (tmp_path / "out").exists()
