# SPDX-License-Identifier: Apache-2.0
"""Every block of Python in the README and the manual runs, in the order of its page.

A page's blocks are one program, in a folder that holds what a reader would have: model.pb, with
pictures and batches of them in variables. A comment <!-- given: NAME --> before a block runs
GIVEN[NAME] first. Blocks that are only to be read are fenced as text.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT

PAGES = ["README.md"] + sorted(
    os.path.join("doc", name) for name in os.listdir(os.path.join(ROOT, "doc")) if name.endswith(".md")
)
BLOCK = re.compile(r"(?:<!-- given: (\w+) -->\n+)?^```python\n(.*?)^```", re.M | re.S)

GIVEN = {
    "": """
import numpy as np
pictures = np.random.RandomState(1).rand(32, 28, 28, 1).astype(np.float32)
batches = np.split(pictures, 4)
""",
    "training": """
import tensorflow.compat.v1 as tf

images, labels = pictures, np.arange(32) % 10

def network(x, is_training):
    x = tf.nn.conv2d(x, tf.get_variable("conv", [3, 3, 1, 8]), [1, 2, 2, 1], "SAME")
    ones, zeros = (tf.get_variable(n, [8], initializer=f) for n, f in
                   (("gamma", tf.ones_initializer()), ("beta", tf.zeros_initializer())))
    moving = ({} if is_training else {"mean": np.zeros(8, "f"), "variance": np.ones(8, "f")})
    x = tf.nn.fused_batch_norm(x, ones, zeros, is_training=is_training, **moving)[0]
    x = tf.reduce_mean(tf.nn.relu(x), [1, 2])
    return tf.matmul(x, tf.get_variable("dense", [8, 10]), name="logits")

with tf.Graph().as_default(), tf.Session() as session:
    network(images, True)
    session.run(tf.global_variables_initializer())
    tf.train.Saver().save(session, "pretrained")
with open("retrain.cfg", "w") as file:
    file.write("batch_num: 2")
""",
}


def program(page):
    """The page's blocks, each behind the place where it stands; "" where it has none."""
    with open(os.path.join(ROOT, page)) as file:
        text = file.read()
    parts = []
    for match in BLOCK.finditer(text):
        if match.group(1):
            parts.append(GIVEN[match.group(1)])
        lines = text.count("\n", 0, match.start(2))
        parts.append("# {}:{}\n{}".format(page, lines + 1, match.group(2)))
    return GIVEN[""] + "\n".join(parts) if parts else ""


@pytest.mark.parametrize("page", [page for page in PAGES if program(page)])
def test_the_blocks_of_a_page_run(page):
    shutil.copy(os.path.join(ROOT, "examples", "fashion", "fashion.pb"), "model.pb")
    with open("page.py", "w") as file:
        file.write(program(page))
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run(
        [sys.executable, "page.py"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_given_is_used():
    used = set()
    for page in PAGES:
        with open(os.path.join(ROOT, page)) as file:
            used |= {match.group(1) for match in BLOCK.finditer(file.read())}
    assert used - {None} == set(GIVEN) - {""}
