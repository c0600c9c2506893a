# SPDX-License-Identifier: Apache-2.0
"""Outputs of retrained Keras layers: whole steps in inference, as the saved model has them.

The core puts a RetrainOutput behind each layer and all that is folded into it. In the Keras
model it stands behind the product of the layer, before its activation, or behind the batch
norm that follows. Where one Keras layer would need two different ones, it gets none.
"""

import functools
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from . import _core
from ._keras_inside import Replaced, plain
from ._ops import tf, v1


class Owner(NamedTuple):
    """Whose call has made a node: of a layer that has several, which of its places."""

    layer: Any
    place: int


class Traced(NamedTuple):
    """A frozen float graph, and which Keras layers made its nodes."""

    frozen: Any  # _freeze.Frozen
    owners: Dict[str, Owner]  # of nodes that can be retrained
    ends: Dict[str, Owner]  # of what goes into activations, and comes out of batch norms


class OutputPlan(NamedTuple):
    """One RetrainOutput."""

    behind: str  # a node
    name: str  # of the layer
    attributes: Dict[str, Any]


class Ending(NamedTuple):
    """Where the RetrainOutput of a layer stands."""

    source: Owner
    at: Owner
    plan: OutputPlan

    @property
    def norm(self) -> Optional[Any]:
        """The batch norm that it stands behind."""
        return None if self.at == self.source else self.at.layer


def plans_of(edits: List[_core.Edit]) -> List[OutputPlan]:
    """What retraining edits say of outputs."""
    nodes = [v1.NodeDef.FromString(edit.nodedef) for edit in edits if edit.nodedef]
    return [_plan(node) for node in nodes if node.op == "RetrainOutput"]


def _plan(node: Any) -> OutputPlan:
    attributes = {name: _value(attr) for name, attr in node.attr.items() if name != "Tin"}
    name = attributes["layer_name"].decode("utf-8", "replace")
    return OutputPlan(node.input[0].partition(":")[0], name, attributes)


def _value(attr: Any) -> Any:
    kind = attr.WhichOneof("value")
    if kind == "list":
        return list(attr.list.s) or list(attr.list.i)
    return getattr(attr, kind)


def endings(plans: List[OutputPlan], traced: Traced) -> List[Ending]:
    """Those that fit every call of the Keras layers where they stand."""
    found: Dict[Any, List[Ending]] = {}
    for plan in plans:
        source = traced.owners.get(plan.name)
        at = traced.owners.get(plan.behind) or traced.ends.get(plan.behind)
        if source is not None and at is not None:
            found.setdefault((id(at.layer), at.place), []).append(Ending(source, at, plan))
    return [same[0] for same in found.values() if _fits(same, traced)]


def _fits(same: List[Ending], traced: Traced) -> bool:
    first = same[0]
    nodes = traced.owners if first.norm is None else traced.ends
    calls = sum(owner == first.at for owner in nodes.values())
    return (
        len(same) == calls
        and all(other.source == first.source for other in same)
        and all(_unnamed(other.plan) == _unnamed(first.plan) for other in same)
        and first.plan.attributes["total"] == 0
        and _folds(first, traced)
    )


def _unnamed(plan: OutputPlan) -> Dict[str, Any]:
    return dict(plan.attributes, layer_name=b"")


def _folds(ending: Ending, traced: Traced) -> bool:
    """Whether what is folded in are the layer's own bias and the batch norm, and no more."""
    layer, fold = ending.source.layer, ending.plan.attributes["fold"]
    own = [b"bias"] if getattr(layer, "use_bias", False) else []
    if ending.norm is not None:
        return fold[:-1] == own and _is_norm(fold[-1:], ending.norm)
    if ending.plan.behind in traced.ends:
        return fold == own
    first = getattr(layer, "data_format", None) == "channels_first"
    # before the bias; Keras may have changed the layout between the two
    return not fold and ending.plan.attributes["data_format"] == (b"NCHW" if first else b"NHWC")


def _is_norm(fold: List[bytes], norm: Any) -> bool:
    parts = [step.decode().split(":") for step in fold]
    return (
        len(parts) == 1
        and len(parts[0]) == 2
        and parts[0][0] == "batch_norm"
        and np.float32(parts[0][1]) == np.float32(norm.epsilon)
    )


# ---- what the op takes ----


def inputs_of(ending: Ending, kernel: Optional[str], clips: Any) -> List[Any]:
    """The tensors of now: kernel, what is folded into it, clips."""
    layer = ending.source.layer
    values = [] if kernel is None else [plain(layer, kernel)]
    if b"bias" in ending.plan.attributes["fold"]:
        values.append(plain(layer, "bias"))
    if ending.norm is not None:
        values += _norm_values(ending.norm)
    return [tf.convert_to_tensor(value) for value in values + [clips.clip_max, clips.clip_min]]


def _norm_values(norm: Any) -> List[Any]:
    mean, variance = (
        tf.convert_to_tensor(value) for value in (norm.moving_mean, norm.moving_variance)
    )
    scale = norm.gamma if norm.scale else tf.ones_like(mean)
    offset = norm.beta if norm.center else tf.zeros_like(mean)
    return [scale, offset, mean, variance]


def replaced_by(output: Any) -> Replaced:
    """Of a layer: its activation comes after its RetrainOutput."""
    ending = output.ending
    layer = ending.source.layer
    late = getattr(layer, "use_bias", False) and not ending.plan.attributes["fold"]
    first = getattr(layer, "data_format", None) == "channels_first"

    def finish(activation: Any, y: Any) -> Any:
        y = output(y)
        if late:
            bias = tf.convert_to_tensor(plain(layer, "bias"))
            y = tf.nn.bias_add(y, bias, data_format="NCHW" if first else "NHWC")
        return y if activation is None else activation(y)

    replaced: Replaced = {"activation": lambda activation: functools.partial(finish, activation)}
    if late:  # the layer leaves it to us
        replaced["use_bias"] = lambda _: False
        replaced["bias"] = lambda _: None
    return replaced
