# SPDX-License-Identifier: Apache-2.0
"""What every conformance test gets: a folder of its own, quiet TensorFlow."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import pytest
import tensorflow as tf


def pytest_report_header(config):
    """Which TensorFlow, which package."""
    import amct_tensorflow as amct

    return "TensorFlow {}, Python {}, amct_tensorflow {} in {}".format(
        tf.__version__,
        sys.version.split()[0],
        amct.__version__,
        os.path.dirname(amct.__file__),
    )


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Each test runs in an empty folder, on an empty default graph."""
    monkeypatch.chdir(tmp_path)
    tf.compat.v1.reset_default_graph()
    return tmp_path
