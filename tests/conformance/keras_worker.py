# SPDX-License-Identifier: Apache-2.0
"""Retrains a small Keras model in a process of its own, on two logical CPUs or as one of several workers.

    keras_worker.py KIT mirrored|workers|single OUT [--first N] [--steps N] [--resume]

Writes OUT/result.json, OUT/retrained.pb, OUT/record.txt, OUT/model_quantized.pb.
"""

import argparse
import importlib
import json
import os

import numpy as np
import tensorflow as tf

BATCH = 16
STEPS = 6


def pictures(seed=0, count=BATCH * STEPS):
    """Pictures whose class is the channel that is brighter."""
    random = np.random.RandomState(seed)
    x = random.uniform(-1, 1, (count, 8, 8, 3)).astype(np.float32)
    y = random.randint(0, 3, count)
    for i, label in enumerate(y):
        x[i, :, :, label] += 0.5
    return x, y


def network(kit):
    """Convolution, batch norm, depthwise, average, dense."""
    kit.utils.set_random_seed(7)
    layers = kit.layers
    x = start = layers.Input((8, 8, 3), name="image")
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(x)))
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = layers.Flatten()(layers.AveragePooling2D(2)(x))
    return kit.Model(start, layers.Dense(3, name="logits")(x), name="net")


def strategy_of(mode):
    if mode == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        halves = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, halves)
        return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    if mode == "workers":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def copies(variable):
    """The values of a variable on the replicas of this process."""
    if type(variable).__module__.startswith("keras."):
        variable = variable.value
    values = getattr(variable, "values", (variable,))
    return [np.asarray(value.numpy()).tolist() for value in values]


def loop(strategy, model, optimizer, loss, data):
    """A training loop of one's own; returns the last loss."""

    def replica(x, y):
        with tf.GradientTape() as tape:
            # a sum over the replicas of means over their shards
            value = tf.reduce_sum(loss(y, model(x, training=True))) / BATCH
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables))
        return value

    @tf.function
    def step(x, y):
        return strategy.reduce("SUM", strategy.run(replica, (x, y)), axis=None)

    for x, y in strategy.experimental_distribute_dataset(data):
        last = step(x, y)
    return float(last)


def inference_apart(model, x):
    """What the model predicts on the replicas, and the saved pb, apart at most."""
    graph_def = tf.compat.v1.GraphDef.FromString(open("model_quantized.pb", "rb").read())
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(graph_def, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        deployed = session.run("logits:0", {"image:0": x})
    found = model.predict(x, batch_size=BATCH, verbose=0)
    return float(np.abs(found - deployed).max() / np.abs(deployed).max())


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("kit")
    parser.add_argument("mode")
    parser.add_argument("out")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--resume")
    parser.add_argument("--loop", action="store_true", help="a loop instead of fit()")
    return parser.parse_args()


def main():
    arguments = parse()
    strategy = strategy_of(arguments.mode)
    kit = importlib.import_module(arguments.kit)
    import amct_tensorflow as amct

    os.makedirs(arguments.out, exist_ok=True)
    os.chdir(arguments.out)
    with open("retrain.cfg", "w") as file:
        file.write("batch_num: {}\n".format(arguments.batches))
    with strategy.scope():
        model = network(kit)
        amct.create_quant_retrain_config("retrain.json", model, "retrain.cfg")
        added = amct.create_quant_retrain_model(model, "retrain.json", "record.txt")
        optimizer = kit.optimizers.SGD(0.05, momentum=0.9)
        loss = kit.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="none" if arguments.loop else "sum_over_batch_size"
        )
        model.compile(optimizer, loss)
        checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
        if arguments.resume:
            if hasattr(optimizer, "build"):
                optimizer.build(model.trainable_variables)
            checkpoint.read(arguments.resume).assert_existing_objects_matched()
    x, y = pictures()
    low, high = BATCH * arguments.first, BATCH * (arguments.first + arguments.steps)
    data = tf.data.Dataset.from_tensor_slices((x[low:high], y[low:high])).batch(BATCH)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    data = data.with_options(options)
    if arguments.loop:
        last = loop(strategy, model, optimizer, loss, data)
    else:
        last = model.fit(data, epochs=1, verbose=0, shuffle=False).history["loss"][-1]
    path = checkpoint.write("checkpoint")
    outputs = None
    if arguments.first + arguments.steps >= arguments.batches:
        outputs = amct.freeze_quant_retrain_model(model, "retrained.pb")
        amct.save_quant_retrain_model("retrained.pb", outputs, "record.txt", "model")
    result = {
        "apart": inference_apart(model, x) if arguments.mode == "mirrored" and outputs else None,
        "loss": last,
        "replicas": strategy.num_replicas_in_sync,
        "checkpoint": os.path.abspath(path),
        "clips": [copies(variable) for variable in added],
        "calibration": [
            copies(v) for v in model.non_trainable_variables if "calibration" in v.name
        ],
        "weights": [np.asarray(w).tolist() for w in model.get_weights()],
    }
    with open("result.json", "w") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main()
