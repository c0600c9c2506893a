# SPDX-License-Identifier: Apache-2.0
"""From a graph in training mode to the same graph in inference mode, by structure.

Flags of training are set to inference, their conds (version 1) resolved; batch norms that take
the statistics of the batch read the variables in which moving averages of these are gathered;
dropouts go. What would still take statistics of the batch is an error. GraphDef in and out;
variables stay variables.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

from . import errors
from ._ops import tf, v1
from ._wiring import Wiring, constant_node, tensor_of

_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_RANDOM = (
    "RandomUniform",
    "RandomStandardNormal",
    "TruncatedNormal",
    "StatelessRandomUniform",
    "StatelessRandomUniformV2",
    "StatelessRandomNormal",
    "StatelessRandomNormalV2",
)
_ASSIGN = {
    "Assign": 0,  # what is assigned: the value, or the variable and (+1, -1) times the value
    "AssignVariableOp": 0,
    "AssignAdd": 1,
    "AssignAddVariableOp": 1,
    "AssignSub": -1,
    "AssignSubVariableOp": -1,
}
_SAME = ("Identity", "StopGradient", "Squeeze", "Reshape", "CheckNumerics")
_IDLE = ("NoOp", "Identity", "Const")
_FLAGS = ("Placeholder", "PlaceholderWithDefault")
_DEPTH = 24
_EXACT = 1e-4  # of factors that were computed in float32

Form = Dict[str, float]  # a tensor as a sum of others times factors; "" is the constant part


class Inference(NamedTuple):
    """A graph in inference mode."""

    definition: Any  # GraphDef, with nothing but what the outputs need
    changes: List[str]  # for people: what was done


def infer(definition: Any, outputs: List[str], label: str) -> Inference:
    """`outputs` name nodes; `label` says in errors where the graph comes from."""
    wiring = Wiring(definition)
    changes: List[str] = []
    flags = _flags(wiring, outputs)
    for name, value in sorted(flags.items()):
        wiring.replace(name, constant_node(name, value, tf.bool))
        changes.append('"{}" is {}'.format(name, value))
    wiring = wiring.resolved()
    for name in outputs:
        if name in wiring.dead:
            raise errors.GraphError('{}: "{}" is computed in training only'.format(label, name))
    changes += _count(_norms_to_inference(wiring, outputs, label), "batch norm", "set to inference")
    changes += _count(_drop_dropouts(wiring, outputs), "dropout", "removed")
    _drop_waiting(wiring)
    left = _training(wiring, outputs)
    norms = [name for name in left if wiring.ops[name] not in _RANDOM]
    if norms:
        raise _no_inference(wiring, norms[0], label)
    if left:
        changes.append('"{}" is random, and stays'.format(left[0]))
    return Inference(wiring.definition(outputs), changes)


def _count(count: int, what: str, done: str) -> List[str]:
    return ["{} {}{} {}".format(count, what, "s" * (count > 1), done)] if count else []


def _no_inference(wiring: Wiring, name: str, label: str) -> errors.GraphError:
    error = errors.GraphError(
        '{}: {} "{}" normalizes with the statistics of the batch, and the graph has no update of '
        "moving averages to take in their place: export the graph with is_training False, or with "
        "its update ops".format(label, wiring.ops[name], name)
    )
    error.node = name
    return error


# ---- flags ----


def _flags(wiring: Wiring, outputs: List[str]) -> Dict[str, bool]:
    """The placeholders that switch training on and off, with the value for inference."""
    steering: Set[str] = set()
    for name, op in wiring.ops.items():
        if op in ("Switch", "RefSwitch"):
            steering |= wiring.sources(wiring.inputs[name][1], _FLAGS)
    flags: Dict[str, bool] = {}
    for name in sorted(steering):
        trains = {}
        for value in (False, True):
            wiring.assumed = dict(flags, **{name: value})
            trains[value] = len(_training(wiring.resolved(), outputs))
        if trains[False] != trains[True]:
            flags[name] = trains[True] < trains[False]
    wiring.assumed = {}
    return flags


def _training(wiring: Wiring, outputs: List[str]) -> List[str]:
    """The nodes, among those that the outputs need, that act as in training."""
    found = []
    for name in sorted(wiring.needed(outputs)):
        op = wiring.ops[name]
        if op in _RANDOM:
            found.append(name)
        elif op in _NORMS and _trains(wiring.nodes[name]) and not _of_one(wiring, name):
            found.append(name)
        elif op == "Rsqrt" and any(_of_batch(wiring, text) for text in _terms(wiring, name)):
            found.append(name)
    return found


def _of_one(wiring: Wiring, norm: str) -> bool:
    """Whether the data were reshaped to a batch of one, as layer normalization does to use the op."""
    name, _ = wiring.through(wiring.inputs[norm][0], ("Identity",))
    if wiring.ops[name] != "Reshape":
        return False
    shape, _ = wiring.through(wiring.inputs[name][1], ("Identity",))
    packed = wiring.ops[shape] == "Pack"
    first = wiring.constant(wiring.inputs[shape][0] if packed else shape)
    return first is not None and first.size > 0 and int(first.reshape(-1)[0]) == 1


def _trains(norm: Any) -> bool:
    return norm.attr["is_training"].b if "is_training" in norm.attr else True


def _terms(wiring: Wiring, rsqrt: str) -> List[str]:
    """What is under a root: of variance + epsilon, both."""
    name, _ = wiring.through(wiring.inputs[rsqrt][0], _SAME)
    return wiring.data(name) if wiring.ops[name] in ("Add", "AddV2") else []


def _of_batch(wiring: Wiring, text: str) -> bool:
    """A mean over axis 0, and others."""
    name, _ = wiring.through(text, _SAME)
    if wiring.ops[name] != "Mean":
        return False
    axes = wiring.constant(wiring.inputs[name][1])
    return axes is not None and 0 in axes.reshape(-1)


# ---- moving averages ----


def _norms_to_inference(wiring: Wiring, outputs: List[str], label: str) -> int:
    """How many batch norms read variables in the place of statistics of the batch now."""
    norms = [name for name in _training(wiring, outputs) if wiring.ops[name] not in _RANDOM]
    if not norms:
        return 0
    averages = _averages(wiring, label)
    for name in norms:
        if wiring.ops[name] in _NORMS:
            _norm_to_inference(wiring, name, averages)
    for text, variable in averages.items():
        if _of_batch(wiring, text):
            wiring.redirect(text, _reading(wiring, variable, tensor_of(text)[0]))
    left = set(_training(wiring, outputs))
    return sum(name not in left for name in norms)


def _norm_to_inference(wiring: Wiring, name: str, averages: Dict[str, str]) -> None:
    """Declines, in silence, where no variables are known."""
    node = v1.NodeDef.FromString(wiring.nodes[name].SerializeToString())
    factor = node.attr["exponential_avg_factor"].f if "exponential_avg_factor" in node.attr else 1.0
    statistics = wiring.inputs[name][3:5]
    if factor != 1.0 and all(wiring.variable(text) for text in statistics):
        pass  # it updates in itself what it reads
    elif name + ":1" in averages and name + ":2" in averages:
        variables = (averages[name + ":1"], averages[name + ":2"])
        statistics = [_reading(wiring, variable, name) for variable in variables]
    else:
        return
    node.attr["is_training"].b = False
    wiring.inputs[name][3:5] = statistics
    wiring.replace(name, node, wiring.inputs[name])


def _reading(wiring: Wiring, variable: str, near: str) -> str:
    """A tensor: the value of a variable."""
    if wiring.ops[variable] != "VarHandleOp":
        return variable
    name = "{}/{}".format(near, variable.rpartition("/")[2])
    while name in wiring.nodes:
        name += "_1"
    node = v1.NodeDef(name=name, op="ReadVariableOp")
    node.attr["dtype"].type = wiring.nodes[variable].attr["dtype"].type
    wiring.replace(name, node, [variable])
    return name


def _averages(wiring: Wiring, label: str) -> Dict[str, str]:
    """The variables that are moving averages, by the tensor of which they are."""
    found: Dict[str, str] = {}
    for name, op in wiring.ops.items():
        if op not in _ASSIGN:
            continue
        variable = wiring.variable(wiring.inputs[name][0])
        of = _averaged(wiring, name, variable) if variable else None
        if variable and of and found.setdefault(of, variable) != variable:
            error = '{}: both "{}" and "{}" are moving averages of "{}"'
            raise errors.GraphError(error.format(label, found[of], variable, of))
    return found


def _averaged(wiring: Wiring, assign: str, variable: str) -> Optional[str]:
    """The tensor t of variable <- d * variable + (1 - d) * t, with 0 <= d < 1."""
    form = _form(wiring, wiring.inputs[assign][1])
    sign = _ASSIGN[wiring.ops[assign]]
    if sign:
        form = _sum({variable: 1.0}, form, sign)
    decay = form.pop(variable, 0.0)
    others = {text: factor for text, factor in form.items() if abs(factor) > _EXACT}
    if len(others) != 1 or "" in others or not 0 < decay < 1:
        return None
    text, factor = others.popitem()
    return text if abs(decay + factor - 1) < _EXACT else None


def _form(wiring: Wiring, text: str, depth: int = 0) -> Form:
    """A tensor in terms of variables (by their name) and of others (as name:port)."""
    name, port = wiring.through(text, ("Identity", "Cast"))
    variable = wiring.variable(text)
    value = wiring.constant(text)
    if variable:
        return {variable: 1.0}
    if value is not None and value.size == 1 and value.dtype.kind in "fiu":
        return {"": float(value.reshape(-1)[0])}
    leaf = {"{}:{}".format(name, port): 1.0}
    if depth == _DEPTH or wiring.ops[name] not in ("Add", "AddV2", "Sub", "Mul", "RealDiv", "Neg"):
        return leaf
    parts = [_form(wiring, part, depth + 1) for part in wiring.data(name)]
    if wiring.ops[name] == "Neg":
        return _sum({}, parts[0], -1)
    if wiring.ops[name] in ("Add", "AddV2", "Sub"):
        return _sum(parts[0], parts[1], -1 if wiring.ops[name] == "Sub" else 1)
    if wiring.ops[name] == "Mul" and set(parts[0]) == {""}:
        parts.reverse()
    if set(parts[1]) != {""} or (wiring.ops[name] == "RealDiv" and parts[1][""] == 0):
        return leaf
    return _sum({}, parts[0], parts[1][""] if wiring.ops[name] == "Mul" else 1 / parts[1][""])


def _sum(a: Form, b: Form, factor: float) -> Form:
    result = dict(a)
    for text, value in b.items():
        result[text] = result.get(text, 0.0) + factor * value
    return result


def _drop_waiting(wiring: Wiring) -> None:
    """Nothing waits any more for variables to be assigned, or for what does nothing."""
    writing = wiring.behind([name for name, op in wiring.ops.items() if op in _ASSIGN])
    busy = wiring.behind([name for name, op in wiring.ops.items() if op not in _IDLE])
    for inputs in wiring.inputs.values():
        inputs[:] = [t for t in inputs if t[0] != "^" or (t[1:] in busy and t[1:] not in writing)]


# ---- dropout ----


def _drop_dropouts(wiring: Wiring, outputs: List[str]) -> int:
    """How many dropouts that are always on now pass their data."""
    count = 0
    for name in sorted(wiring.needed(outputs)):
        data = _dropped(wiring, name)
        if data is not None:
            node = v1.NodeDef(name=name, op="Identity")
            node.attr["T"].CopyFrom(wiring.nodes[name].attr["T"])
            controls = [text for text in wiring.inputs[name] if text[0] == "^"]
            wiring.replace(name, node, [data] + controls)
            count += 1
    return count


def _dropped(wiring: Wiring, name: str) -> Optional[str]:
    """The data x of a dropout, which is x / keep where random numbers let it pass, else 0."""
    data = wiring.data(name)
    pairs: List[Tuple[str, str]] = []  # what may be the mask, what may be x / keep
    if wiring.ops[name] == "Mul":
        pairs = [(data[0], data[1]), (data[1], data[0])]
    elif wiring.ops[name] in ("SelectV2", "Select"):
        zero = wiring.constant(data[2])
        pairs = [(data[0], data[1])] if zero is not None and not zero.any() else []
    for mask, scaled in pairs:
        keep = _mask(wiring, mask)
        x = _unscaled(wiring, scaled, keep) if keep else None
        if x is not None:
            return x
    return None


def _mask(wiring: Wiring, text: str) -> Optional[Form]:
    """How many of all values a mask lets pass: random >= rate, or floor(keep + random)."""
    name, _ = wiring.through(text, ("Identity", "Cast"))
    op, data = wiring.ops[name], wiring.data(name)
    if op == "GreaterEqual":
        if _is_uniform(wiring, _form(wiring, data[0])):
            return _sum({"": 1.0}, _form(wiring, data[1]), -1)
    elif op == "Floor":
        form = _form(wiring, data[0])
        uniform = {leaf: factor for leaf, factor in form.items() if _is_random(wiring, leaf)}
        if _is_uniform(wiring, uniform):
            return {leaf: factor for leaf, factor in form.items() if leaf not in uniform}
    return None


def _is_random(wiring: Wiring, leaf: str) -> bool:
    return bool(leaf) and wiring.ops[tensor_of(leaf)[0]] == "RandomUniform"


def _is_uniform(wiring: Wiring, form: Form) -> bool:
    """Numbers from 0 to 1."""
    leaves = {leaf: factor for leaf, factor in form.items() if leaf or factor}
    return list(leaves.values()) == [1.0] and _is_random(wiring, next(iter(leaves)))


def _unscaled(wiring: Wiring, text: str, keep: Form) -> Optional[str]:
    """x of x * (1 / keep) or x / keep."""
    name, _ = wiring.through(text, ("Identity",))
    data = wiring.data(name)
    if wiring.ops[name] == "RealDiv" and _equal(_form(wiring, data[1]), keep):
        return data[0]
    if wiring.ops[name] != "Mul":
        return None
    for x, factor in ((data[0], data[1]), (data[1], data[0])):
        inverse, _ = wiring.through(factor, ("Identity",))
        value = _form(wiring, factor)
        if set(value) == set(keep) == {""} and abs(value[""] * keep[""] - 1) < _EXACT:
            return x
        if wiring.ops[inverse] == "RealDiv":
            one, divisor = (_form(wiring, part) for part in wiring.data(inverse))
            if _equal(one, {"": 1.0}) and _equal(divisor, keep):
                return x
    return None


def _equal(a: Form, b: Form) -> bool:
    return all(abs(value) < _EXACT for value in _sum(a, b, -1).values())
