"""From a traced classifier to its geometry, the edits that make it slide, and what is inexact.

Each row names operations (layers by their class, functions and methods by their name) with the rule
that says what one of them does to a value with a position. What is in no row is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import fx

from onebyone.algebra.geometry import Axis
from onebyone.errors import UsageError
from onebyone.nn.activations import ACTIVATIONS
from onebyone.nn.sliding import heads, positions, views, windows
from onebyone.nn.sliding.site import Maps, Other, Rule, Site, State, operation
from onebyone.nn.sliding.trace import Traced

__all__ = ["Plan", "plan"]


@dataclass(frozen=True)
class Row:
    """Operations, the rule for them, and the names of the arguments of those that are functions."""

    names: str
    rule: Rule
    signature: str = "input"


_FUNCTIONS = """
RReLU
celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 rrelu
selu silu sigmoid softplus softshrink softsign tanh tanhshrink threshold
"""
_ARITHMETIC = """
add iadd sub isub rsub mul imul div truediv itruediv neg abs pow square sqrt rsqrt exp expm1 log
log1p erf sin cos sign floor ceil round clamp clip clamp_min clamp_max minimum maximum where lerp
addcmul addcdiv nan_to_num reciprocal true_divide multiply subtract eq ne gt ge lt le
"""
_NOTHING = """
Identity Dropout Dropout2d AlphaDropout FeatureAlphaDropout
dropout dropout2d alpha_dropout feature_alpha_dropout
clone contiguous detach float double half bfloat16 to type type_as expand_as
"""
ROWS = (
    Row(ACTIVATIONS + _FUNCTIONS + _ARITHMETIC + _NOTHING, positions.elementwise),
    Row("LocalResponseNorm local_response_norm ChannelShuffle channel_shuffle", positions.images),
    Row("PReLU prelu", positions.prelu, "input weight"),
    Row("BatchNorm2d SyncBatchNorm", positions.batch_norm),
    Row(
        "batch_norm",
        positions.batch_norm,
        "input running_mean running_var weight bias training momentum eps",
    ),
    Row("GroupNorm InstanceNorm2d group_norm instance_norm", positions.whole_norm),
    Row("Softmax LogSoftmax Softmin GLU glu", positions.along_channels, "input dim"),
    Row("softmax log_softmax softmin", positions.along_channels, "input dim"),
    Row("normalize", positions.along_channels, "input p dim eps"),
    Row("cat concat concatenate", positions.concatenate, "tensors dim"),
    Row("chunk split", positions.split, "input size dim"),
    Row("mean sum amax amin std var logsumexp max min", positions.reduce_axes, "input dim keepdim"),
    Row("Conv2d conv2d", windows.convolution, "input weight bias stride padding dilation groups"),
    Row(
        "MaxPool2d max_pool2d",
        windows.pool,
        "input kernel_size stride padding dilation ceil_mode return_indices",
    ),
    Row(
        "AvgPool2d avg_pool2d",
        windows.pool,
        "input kernel_size stride padding ceil_mode count_include_pad divisor_override",
    ),
    Row(
        "AdaptiveAvgPool2d AdaptiveMaxPool2d adaptive_avg_pool2d adaptive_max_pool2d",
        windows.adaptive_pool,
        "input output_size",
    ),
    Row("ZeroPad2d ConstantPad2d ReflectionPad2d ReplicationPad2d CircularPad2d", windows.pad),
    Row("pad", windows.pad, "input padding mode value"),
    Row("Flatten view reshape flatten squeeze unsqueeze", views.view),
    Row("permute", views.permute, "input dims"),
    Row("transpose swapaxes", views.transpose, "input dim0 dim1"),
    Row("getitem", views.index, "input index"),
    Row("size", views.size, "input dim"),
    Row("dim getattr", views.size),
    Row("Linear", heads.linear),
    Row("linear", heads.linear_function, "input weight bias"),
    Row("Pointwise", heads.pointwise),
    Row("ClassMaps", heads.class_maps),
    Row("BatchNorm1d", heads.batch_norm_1d),
    Row("LayerNorm layer_norm", heads.layer_norm, "input normalized_shape"),
)
_RULES = {name: row for row in ROWS for name in row.names.split()}


@dataclass(frozen=True)
class Plan:
    """What to do: the state of the answer, the edits to make, and what will not be exact."""

    answer: Maps
    edits: list[Callable[[], None]]
    remarks: list[str]


def plan(traced: Traced, keep_ceil: bool) -> Plan:
    """Walk the graph from the image to the answer.

    Raises:
        UsageError: a node of which no rule knows, or which a rule refuses; the message names it.
    """
    states: dict[fx.Node, State] = {}
    edits: list[Callable[[], None]] = []
    remarks: list[str] = []
    changes: dict[fx.Node, object] = {}
    for node in traced.network.graph.nodes:
        if node.op == "output":
            _check_calls(changes)
            return Plan(_answer(node, traced, states), edits, remarks)
        # What has no row may still be computed from sizes alone, which no rule needs to know.
        row = _RULES.get(operation(node, traced.module(node)))
        signature = tuple(row.signature.split()) if row else ()
        site = Site(node, traced, states, signature, keep_ceil, edits, remarks, changes)
        states[node] = _state(site, row)
    raise UsageError("got a model without an output")


def _state(site: Site, row: Row | None) -> State:
    """The state of what a node gives."""
    node, states = site.node, site.states
    if node.op == "placeholder":
        # The image comes first; other arguments are at their defaults.
        if states:
            return Other.CONSTANT
        return Maps(Axis(), Axis())
    operands = [states[n] for n in node.all_input_nodes]
    if not any(isinstance(state, Maps) for state in operands):
        return _without_position(site, operands)
    if row is None:
        site.refuse("no rule says how it acts on an image of another size")
    return row.rule(site)


def _without_position(site: Site, operands: list[State]) -> State:
    """What is computed from values without a position has none."""
    if site.name == "getitem" and operands == [Other.SIZE]:
        return views.entry(site)
    # What depends most on the image decides: the members are in that order.
    kinds = [state for state in operands if isinstance(state, Other)]
    return max(kinds, key=list(Other).index, default=Other.CONSTANT)


def _check_calls(changes: dict[fx.Node, object]) -> None:
    """A layer that is called more than once becomes the same for all its calls."""
    for node, what in changes.items():
        # An edit of a layer is one of all its calls, also of those that asked for no edit.
        calls = [n for n in node.graph.nodes if (n.op, n.target) == (node.op, node.target)]
        if any(changes.get(call) != what for call in calls):
            raise UsageError(
                f"layer {node.target} is called {len(calls)} times in different ways "
                f"({', '.join(call.name for call in calls)}): give each call its own copy"
            )


def _answer(node: fx.Node, traced: Traced, states: dict[fx.Node, State]) -> Maps:
    """The state of what the network returns: one vector for an image of the original size."""
    [result] = node.args
    # Of several results no node tells, and none would be the scores.
    state = isinstance(result, fx.Node) and states[result]
    if not isinstance(result, fx.Node) or not isinstance(state, Maps):
        raise UsageError(
            f"got a model that returns {result}, wanted one tensor of class scores computed from "
            "the image: call eval(), or take the part of the model that returns the scores"
        )
    shape = traced.shape(result)
    if state.pending or state.axes not in (None, (2, 3)) or not set(shape[2:]) <= {1}:
        raise UsageError(
            f"got a model that returns a tensor of shape {shape}, wanted (N, classes): "
            "a head that flattens or pools, and then linear layers"
        )
    return state
