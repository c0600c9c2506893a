# SPDX-License-Identifier: Apache-2.0
"""Fake quantization in TensorFlow 2, eager and in functions, and Keras layers that do it.

The kernels are those of graphs. The search for the first clips, which a graph keeps in the
kernel of UlqGrad, is kept in a variable here: checkpoints hold it, and replicas agree on it.
"""

from typing import Any, Callable, Dict, List

import numpy as np

from . import errors
from ._ops import library, tf, v1

_classes: Dict[str, type] = {}


class Clips:
    """What a layer of clips is, whichever Keras it is of: callable on data."""

    plan: Any
    name: str
    clip_max: Any
    clip_min: Any
    clip_max_pre: Any
    clip_min_pre: Any
    calibration: Any

    def make_variables(self) -> None:
        """Makes the variables."""
        raise NotImplementedError

    def are_as_found(self) -> bool:
        """Whether no training step has changed clips that are known."""
        batches, *sums = tf.convert_to_tensor(self.calibration).numpy()
        now = [tf.convert_to_tensor(clip).numpy() for clip in (self.clip_max, self.clip_min)]
        if self.plan.clip_max != 0 or self.plan.clip_min != 0:
            found = [np.float32(self.plan.clip_max), np.float32(self.plan.clip_min)]
        else:
            found = [total / batches for total in sums] if batches else []
        return now == found

    def __call__(self, x: Any, training: Any = None) -> Any:
        raise NotImplementedError


def _op(name: str) -> Any:
    if not hasattr(library, name):
        raise errors.UnsupportedError(
            "another copy of this package has loaded its ops in this process; Keras models "
            "can be retrained by the first alone"
        )
    return getattr(library, name)


def fake_weight(weight: Any, attributes: Dict[str, Any]) -> Any:
    """ArqRetrain; the gradient goes straight through."""

    @tf.custom_gradient
    def forward(w: Any) -> Any:
        return _op("arq_retrain")(w=w, **attributes), lambda dy: dy

    return forward(weight)


def fake_data(x: Any, clip_max: Any, clip_min: Any, attributes: Dict[str, Any]) -> Any:
    """Ulq. UlqGrad searches for no clips: batch_num 0."""

    @tf.custom_gradient
    def forward(x: Any, clip_max: Any, clip_min: Any) -> Any:
        y = _op("ulq")(x=x, clip_max=clip_max, clip_min=clip_min, **attributes)
        searching_not = dict(attributes, batch_num=0)

        def backward(dy: Any) -> List[Any]:
            found = _op("ulq_grad")(
                x=x, dy=dy, clip_max=clip_max, clip_min=clip_min, **searching_not
            )
            return [found[0], tf.ensure_shape(found[1], []), tf.ensure_shape(found[2], [])]

        return y, backward

    return forward(x, clip_max, clip_min)


def whole_output(x: Any, inputs: List[Any], attributes: Dict[str, Any]) -> Any:
    """RetrainOutput; the gradient goes straight through."""

    @tf.custom_gradient
    def forward(x: Any) -> Any:
        return _op("retrain_output")(x=x, inputs=inputs, **attributes), lambda dy: dy

    return forward(x)


def refuse_xla(layer: str) -> None:
    """UnsupportedError inside a function that XLA compiles."""
    graph = v1.get_default_graph()
    while graph is not None:
        context = graph._get_control_flow_context()
        if context is not None and context.IsXLAContext():
            raise errors.UnsupportedError(
                'layer "{}": XLA has no kernels for the retraining ops: compile the model '
                "with jit_compile=False (Keras 3 decides that by itself where jit_compile "
                'is "auto" and compile() comes after create_quant_retrain_model), or leave '
                "jit_compile=True out of tf.function".format(layer)
            )
        graph = getattr(graph, "outer_graph", None)


def clips_layer(kit: Any) -> Any:
    """The class of layers of clips, of keras or of tf_keras."""
    if kit.__name__ not in _classes:
        _classes[kit.__name__] = _make(kit)
    return _classes[kit.__name__]


def output_layer(kit: Any) -> Any:
    """The class of layers of outputs, of keras or of tf_keras."""
    name = kit.__name__ + "/output"
    if name not in _classes:
        _classes[name] = _make_output(kit)
    return _classes[name]


def _make_output(kit: Any) -> type:
    class RetrainOutput(kit.layers.Layer):  # type: ignore[misc, name-defined]
        """What a retrained layer puts out, in inference as the saved model has it.

        Nothing may track it: the variables are those of the layers that it stands behind.
        """

        def __init__(self, ending: Any, inputs: Callable[[], List[Any]]) -> None:
            super().__init__(dtype="float32")
            self.__dict__["ending"] = ending
            self.__dict__["inputs_now"] = inputs
            self.built = True

        @tf.autograph.experimental.do_not_convert
        def call(self, x: Any, training: Any = None) -> Any:
            """In training, what it gets."""
            if training:
                return x
            return whole_output(x, self.inputs_now(), self.ending.plan.attributes)

        def compute_output_shape(self, input_shape: Any) -> Any:
            """That of the data."""
            return input_shape

    return RetrainOutput


def _make(kit: Any) -> type:
    class Ulq(kit.layers.Layer, Clips):  # type: ignore[misc, name-defined]
        """Data on the int8 grid of two trained clips; 0 and 0 until they are found."""

        def __init__(self, plan: Any, name: str) -> None:
            super().__init__(name=name, dtype="float32")
            self.__dict__["plan"] = plan
            self.supports_jit = False  # asked by Keras 3

        def make_variables(self) -> None:
            """At once, so that an optimizer finds them."""
            _make_variables(self, kit.__name__ == "keras")
            self.built = True

        @tf.autograph.experimental.do_not_convert
        def call(self, x: Any, training: Any = None) -> Any:
            """The data, fake-quantized; the first batches of training find the clips."""
            refuse_xla(self.plan.name)
            clips = [tf.convert_to_tensor(clip) for clip in (self.clip_max, self.clip_min)]
            attributes = {key: self.plan.data[key] for key in ("layer_name", "fixed_min")}
            if training:
                _guard(self, clips, attributes)
            attributes["batch_num"] = _batches(self.plan)
            if training:
                _calibrate(self, x, attributes)
            return fake_data(x, clips[0], clips[1], attributes)

        def compute_output_shape(self, input_shape: Any) -> Any:
            """That of the data."""
            return input_shape

    return Ulq


def _batches(plan: Any) -> int:
    """A layer that is called twice sees two batches a step."""
    return plan.data["batch_num"] * plan.data.get("calls", 1)


def _make_variables(layer: Any, keras3: bool) -> None:
    mean, first = v1.VariableAggregation.MEAN, v1.VariableAggregation.ONLY_FIRST_REPLICA
    if keras3:
        mean, first = "mean", "only_first_replica"
    plan = layer.plan
    known = plan.clip_max != 0 or plan.clip_min != 0

    def add(name: str, value: Any, aggregation: Any, trainable: bool) -> Any:
        return layer.add_weight(
            name=name,
            shape=(3,) if isinstance(value, list) else (),
            initializer=lambda shape, dtype=None: tf.constant(value, tf.float32),
            trainable=trainable,
            aggregation=aggregation,
        )

    layer.clip_max = add("ULQ_clip_max", plan.clip_max, first, True)
    layer.clip_min = add("ULQ_clip_min", plan.clip_min, first, True)
    layer.clip_max_pre = add("ULQ_clip_max_pre", plan.clip_max, first, False)
    layer.clip_min_pre = add("ULQ_clip_min_pre", plan.clip_min, first, False)
    # batches, sum of their clip_max, of their clip_min
    state = [float(_batches(plan)) if known else 0.0, 0.0, 0.0]
    layer.calibration = add("ULQ_calibration", state, mean, False)


def _guard(layer: Any, clips: List[Any], attributes: Dict[str, Any]) -> None:
    """A clip on the wrong side of 0 gets that of the step before; those in order are kept."""
    before = [tf.convert_to_tensor(kept) for kept in (layer.clip_max_pre, layer.clip_min_pre)]
    names = ("clip_max", "clip_min", "clip_max_pre", "clip_min_pre")
    found = _op("ulq_guard")(**dict(zip(names, clips + before)), **attributes)
    for name, now, more in zip(names, clips + before, found):
        getattr(layer, name).assign(now + tf.ensure_shape(more, []))


def _calibrate(layer: Any, x: Any, attributes: Dict[str, Any]) -> None:
    """Adds the batch's range; with the last one, the mean becomes the clips.

    Without a condition: replicas must meet at each assignment.
    """
    wanted = float(attributes["batch_num"])
    before = tf.convert_to_tensor(layer.calibration)
    found = _op("ulq_range")(state=before, x=tf.stop_gradient(x), **attributes)
    layer.calibration.assign(before + found)
    after = tf.convert_to_tensor(layer.calibration)
    now = tf.logical_and(before[0] < wanted, after[0] >= wanted)
    mean_range = tf.math.divide_no_nan(after[1:], after[0])
    for i, clip in enumerate((layer.clip_max, layer.clip_min)):
        clip.assign(tf.where(now, mean_range[i], tf.convert_to_tensor(clip)))
