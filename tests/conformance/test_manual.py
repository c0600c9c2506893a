# SPDX-License-Identifier: Apache-2.0
"""What the README and the manual show runs, in the order of its page.

The blocks of a page are one program, in a folder that holds what a reader would have: model.pb,
with pictures and batches of them in variables and in pictures.npy. Blocks are fenced as python,
as sh (commands), as json (a configuration, which is read) or as proto (a record, with which
model.pb is converted, or a simplified configuration). A comment <!-- given: NAME --> before a
block runs GIVEN[NAME] first. What is only to be read is fenced as text.
"""

import glob
import os
import re
import shutil
import sys

import pytest
import tensorflow as tf

from conftest import ROOT, run_python

PAGES = ["README.md"] + sorted(
    os.path.join("doc", name)
    for name in os.listdir(os.path.join(ROOT, "doc"))
    if name.endswith(".md")
)
BLOCK = re.compile(r"(?:<!-- given: (\w+) -->\n+)?^```(python|sh|json|proto)\n(.*?)^```", re.M | re.S)

GIVEN = {
    "": '''
import subprocess
import sys
import numpy as np
import tensorflow as tf
import amct_tensorflow as amct

pictures = np.random.RandomState(1).rand(32, 28, 28, 1).astype(np.float32)
batches = np.split(pictures, 4)
np.save("pictures.npy", pictures)

def load(name="model.pb"):
    graph = tf.Graph()
    with graph.as_default(), open(name, "rb") as pb:
        tf.import_graph_def(tf.compat.v1.GraphDef.FromString(pb.read()), name="")
    return graph

def sh(commands):
    program = "amct_tensorflow() { " + sys.executable + ' -m amct_tensorflow "$@"; }\\n'
    subprocess.run(["bash", "-ec", program + commands], check=True)

def json(text):
    with open("block.json", "w") as file:
        file.write(text)
    amct.quantize_model(load(), "block.json", "block.txt")

def proto(text):
    with open("block.proto", "w") as file:
        file.write(text)
    if text.startswith("record"):
        amct.convert_model("model.pb", ["logits"], "block.proto", "block")
    else:
        amct.create_quant_config("block.json", load(), config_defination="block.proto")

graph = load()
''',
    "training": '''
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
''',
    "quantized": '''
measured = load()
amct.create_quant_config("config.json", measured)
amct.quantize_model(measured, "config.json", "record.txt")
with tf.compat.v1.Session(graph=measured) as session:
    session.run("logits:0", {"input:0": pictures})
amct.save_model("model.pb", ["logits"], "record.txt", "out/model")
''',
    "folder": '''
import os
import tensorflow.compat.v1 as tf

with tf.Graph().as_default() as classifier, tf.Session() as session:
    x = tf.placeholder(tf.float32, [None, 224, 224, 3], name="input")
    w = tf.constant(np.linspace(-1, 1, 120).reshape(2, 2, 3, 10), tf.float32)
    x = tf.reduce_mean(tf.nn.conv2d(x, w, [1, 32, 32, 1], "VALID"), [1, 2])
    tf.nn.softmax(x, name="prob")
    png = session.run(tf.image.encode_png(np.arange(300).reshape(10, 10, 3).astype(np.uint8)))
for name in ("model.pb", "m.pb"):
    with open(name, "wb") as file:
        file.write(classifier.as_graph_def().SerializeToString())
os.mkdir("pictures")
for i in range(128):
    with open("pictures/{}.png".format(i), "wb") as file:
        file.write(png)
''',
    "keras": '''
import keras

optimizer = keras.optimizers.SGD(0.001)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
labels = np.arange(32) % 10
keras.Sequential(
    [keras.layers.Input((28, 28, 1)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(),
     keras.layers.Flatten(), keras.layers.Dense(10)]
).save("float.keras")
''',
    "trained": '''
def train():
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 28, 28, 1], name="input")
        parameters = [v1.get_variable(name, [8], initializer=v1.ones_initializer()) for name in "gbmv"]
        x = tf.nn.conv2d(x, v1.get_variable("conv", [3, 3, 1, 8]), [1, 2, 2, 1], "SAME")
        x, mean, variance = v1.nn.fused_batch_norm(x, *parameters[:2], is_training=True)
        for moving, value in zip(parameters[2:], (mean, variance)):
            v1.assign_sub(moving, (moving - value) * 0.1)
        y = tf.matmul(tf.reduce_mean(tf.nn.relu(x), [1, 2]), v1.get_variable("dense", [8, 10]), name="logits")
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, "trained")
        v1.saved_model.simple_save(session, "exported", {"input": session.graph.get_tensor_by_name("input:0")}, {"logits": y})

train()
''',
    "fake_quant": '''
with tf.Graph().as_default() as trained:
    x = tf.placeholder(tf.float32, [None, 8], name="input")
    w = tf.constant(np.linspace(-1, 1, 32).reshape(8, 4), tf.float32)
    x = tf.quantization.fake_quant_with_min_max_args(x, -1, 1)
    w = tf.quantization.fake_quant_with_min_max_args(w, -1, 1, narrow_range=True)
    tf.matmul(x, w, name="logits")
with open("qat.pb", "wb") as file:
    file.write(trained.as_graph_def().SerializeToString())
''',
}

ONLY_2 = ("keras",)  # what is given for blocks that need TensorFlow 2


def read(page):
    with open(os.path.join(ROOT, page)) as file:
        return file.read()


def program(page):
    """The page's blocks, each behind the place where it stands; "" where it has none."""
    parts = []
    text = read(page)
    for match in BLOCK.finditer(text):
        given, kind, block = match.groups()
        if given in ONLY_2 and tf.__version__.startswith("1."):
            continue
        if given:
            parts.append(GIVEN[given])
        line = text.count("\n", 0, match.start(3)) + 1
        code = block if kind == "python" else "{}({!r})\n".format(kind, block)
        parts.append("# {}:{}\n{}".format(page, line, code))
    return GIVEN[""] + "\n".join(parts) if parts else ""


def folder_of_amct():
    """Where the native program is: in the build, or beside the Python of the wheel."""
    built = os.path.join(os.environ.get("AMCT_LIB_DIR", ""), os.pardir, "cli")
    return built if "AMCT_LIB_DIR" in os.environ else os.path.dirname(sys.executable)


def run(code):
    """Runs a program in the test's folder, which gets model.pb."""
    shutil.copy(os.path.join(ROOT, "examples", "fashion", "fashion.pb"), "model.pb")
    with open("page.py", "w") as file:
        file.write(code)
    run_python(
        "page.py",
        AMCT_ENGINE_DIR=os.path.dirname(os.path.dirname(tf.__file__)),
        PATH=os.path.abspath(folder_of_amct()) + os.pathsep + os.environ["PATH"],
    )


@pytest.mark.parametrize("page", [page for page in PAGES if program(page)])
def test_the_blocks_of_a_page_run(page):
    run(program(page))


def shown(block):
    """The commands behind "for example" in a block of the page of commands."""
    text = read("doc/commands.md")
    text = text[text.index("<!-- {} -->".format(block)) : text.index("<!-- /{} -->".format(block))]
    found = re.findall(r"^for example\n((?:  .*\n)+)", text, re.M)
    lines = "".join(found).replace("\\\n", "").splitlines()
    return [re.sub(" +", " ", line.strip()) for line in lines]


def test_what_the_help_of_the_original_shows_runs():
    commands = shown("python-cli")
    assert [line.split()[1] for line in commands] == ["calibration", "convert"]
    run(GIVEN[""] + GIVEN["folder"] + "sh({!r})\n".format(commands[0]))
    assert os.path.exists("out/m_quantized.pb")
    fake = GIVEN["fake_quant"].replace("logits", "prob")
    given = GIVEN[""] + "import tensorflow.compat.v1 as tf\n" + fake
    run(given + "sh({!r})\n".format(commands[1].replace("out/m", "out/qat")))
    assert os.path.exists("out/qat_quantized.pb")


def test_what_the_help_shows_runs():
    commands = shown("cli")
    commands = [line for line in commands if "man -l" not in line and "~/" not in line]
    assert len(commands) > 10
    if tf.__version__.startswith("1."):  # no engine of `amct calibrate`
        commands = [line for line in commands if " calibrate " not in line]
    given = GIVEN[""] + "import tensorflow.compat.v1 as tf\n" + GIVEN["fake_quant"]
    given += "sh({!r})\n".format("mkdir out; amct convert --model qat.pb --outputs logits --save_path q --factors new.txt")
    given += "sh({!r})\n".format("cp new.txt old.txt")
    given += "proto({!r})\nsh('cp block.proto record.txt')\n".format(OWN)
    # the comparison, and the model and its fused form, differ: exit code 1
    lines = ["({}) || test $? = 1".format(line) if " diff " in line else line for line in commands]
    order = sorted(lines, key=lambda line: " export " in line or " diff " in line)
    run(given + "".join("sh({!r})\n".format(line) for line in order))
    assert glob.glob("out/model_*")


OWN = 'record { key: "stem/Conv2D" value { scale_d: 0.01 offset_d: -128 scale_w: 0.02 offset_w: 0 } }'


def test_every_given_is_used():
    used = {match.group(1) for page in PAGES for match in BLOCK.finditer(read(page))}
    assert used - {None} == set(GIVEN) - {""}
