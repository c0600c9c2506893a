# SPDX-License-Identifier: Apache-2.0
"""What the core wants of Keras layers that are retrained."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import _core, errors
from ._keras_output import Owner
from ._ops import tf, v1


class Place(NamedTuple):
    """Where a Keras layer makes an op that can be retrained."""

    ops: Tuple[str, ...]
    kernels: Tuple[str, ...] = ()  # attributes that may hold the kernel
    clips: str = "ULQ"


KINDS = {
    "AveragePooling2D": (Place(("AvgPool",)),),
    "Conv2D": (Place(("Conv2D",), ("kernel",)),),
    "Conv2DTranspose": (Place(("Conv2DBackpropInput",), ("kernel",)),),
    "Conv3D": (Place(("Conv3D",), ("kernel",)),),
    "Dense": (Place(("MatMul", "BatchMatMul", "BatchMatMulV2"), ("kernel",)),),
    "DepthwiseConv2D": (Place(("DepthwiseConv2dNative",), ("depthwise_kernel", "kernel")),),
    "SeparableConv2D": (
        Place(("DepthwiseConv2dNative",), ("depthwise_kernel",), "ULQ_depthwise"),
        Place(("Conv2D",), ("pointwise_kernel",), "ULQ_pointwise"),
    ),
}

KINDS_TEXT = ", ".join(sorted(KINDS))


class Plan(NamedTuple):
    """What the core wants of one node."""

    name: str
    data: Dict[str, Any]  # attributes of its Ulq
    weight: Optional[Dict[str, Any]]  # of its ArqRetrain
    clip_max: float
    clip_min: float


def plans_of(edits: List[_core.Edit]) -> List[Plan]:
    """What retraining edits say, by layer."""
    nodes = [v1.NodeDef.FromString(edit.nodedef) for edit in edits if edit.nodedef]
    consts = {node.name: node for node in nodes if node.op == "Const"}
    weights = {node.attr["layer_name"].s: node for node in nodes if node.op == "ArqRetrain"}
    plans = []
    for node in nodes:
        if node.op != "Ulq":
            continue
        clips = [
            float(tf.make_ndarray(consts[name.partition(":")[0]].attr["value"].tensor))
            for name in node.input[1:]
        ]
        layer = node.attr["layer_name"].s
        weight = None
        if layer in weights:
            attributes = weights[layer].attr
            weight = {
                "layer_name": layer,
                "channel_axes": list(attributes["channel_axes"].list.i),
                "channel_wise": attributes["channel_wise"].b,
            }
        data = {"layer_name": layer, "fixed_min": node.attr["fixed_min"].b}
        data["batch_num"] = node.attr["batch_num"].i
        plans.append(Plan(layer.decode("utf-8", "replace"), data, weight, clips[0], clips[1]))
    return plans


def check_plans(plans: List[Plan], owners: Dict[str, Owner]) -> List[Tuple[Owner, Plan]]:
    """One plan a place of a layer. ConfigError where there is none, or no layer for it."""
    found: Dict[Tuple[int, int], Tuple[Owner, Plan]] = {}
    for plan in plans:
        owner = owners.get(plan.name)
        if owner is None:
            raise config_error(
                plan.name,
                'layer "{}" is not made by a Keras layer that can be retrained ({}): set '
                "its retrain_enable to false".format(plan.name, KINDS_TEXT),
            )
        key = (id(owner.layer), owner.place)
        if key not in found:
            found[key] = (owner, plan)
            continue
        _, other = found[key]
        if not _agree(plan, other):
            raise config_error(
                plan.name,
                'layers "{}" and "{}" are one Keras layer, "{}", called twice: the '
                "configuration must say the same of both".format(
                    other.name, plan.name, owner.layer.name
                ),
            )
        other.data["calls"] = other.data.get("calls", 1) + 1
    return list(found.values())


def config_error(layer: str, text: str) -> errors.ConfigError:
    """About a layer of the configuration."""
    error = errors.ConfigError(text)
    error.node = layer
    return error


def _agree(one: Plan, other: Plan) -> bool:
    weights = [dict(plan.weight or {}, layer_name=b"") for plan in (one, other)]
    data = [(plan.data["fixed_min"], plan.data["batch_num"]) for plan in (one, other)]
    clips = [(plan.clip_max, plan.clip_min) for plan in (one, other)]
    return weights[0] == weights[1] and data[0] == data[1] and clips[0] == clips[1]


def not_float32(owners: Dict[str, Owner]) -> Dict[str, str]:
    """Why nodes of layers in other precisions are not retrained, and what to do."""
    return {
        name: 'Keras layer "{}" has the dtype policy "{}" and computes in {}; only float32 is '
        'retrained: make the model with the policy "float32" and load its weights'.format(
            owner.layer.name, owner.layer.dtype_policy.name, owner.layer.compute_dtype
        )
        for name, owner in owners.items()
        if owner.layer.compute_dtype not in ("float32", None)
    }
