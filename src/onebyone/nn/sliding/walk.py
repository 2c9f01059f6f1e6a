"""From a traced classifier to its geometry, the edits that make it slide, and what is inexact.

Each row names operations (layers by their class, functions and methods by their name) with the rule
that says what one of them does to a value with a position. What is in no row is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from onebyone.errors import UsageError
from onebyone.nn.activations import ACTIVATIONS
from onebyone.nn.sliding import heads, positions, views, windows
from onebyone.nn.sliding.site import Maps, Other, Rule, Site, State, operation
from onebyone.nn.sliding.trace import Traced

__all__ = ["Plan", "plan", "results"]


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
Identity Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout
dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout
clone contiguous detach float double half bfloat16 to type type_as expand_as
"""
_NORM = "input running_mean running_var weight bias training momentum eps"
_MAX = "input kernel_size stride padding dilation ceil_mode return_indices"
_MEAN = "input kernel_size stride padding ceil_mode count_include_pad divisor_override"


def _of_ranks(names: str) -> str:
    """The names of layers and functions of one, two and three axes."""
    return " ".join(f"{name}{rank}d" for name in names.split() for rank in (1, 2, 3))


ROWS = (
    Row(ACTIVATIONS + _FUNCTIONS + _ARITHMETIC + _NOTHING, positions.elementwise),
    Row("LocalResponseNorm local_response_norm ChannelShuffle channel_shuffle", positions.images),
    Row("PReLU prelu", positions.prelu, "input weight"),
    Row(_of_ranks("BatchNorm") + " SyncBatchNorm", positions.batch_norm),
    Row("batch_norm", positions.batch_norm, _NORM),
    Row(_of_ranks("InstanceNorm"), positions.whole_norm),
    Row("GroupNorm group_norm instance_norm", positions.whole_norm),
    Row("Softmax LogSoftmax Softmin GLU glu", positions.along_channels, "input dim"),
    Row("softmax log_softmax softmin", positions.along_channels, "input dim"),
    Row("normalize", positions.along_channels, "input p dim eps"),
    Row("cat concat concatenate", positions.concatenate, "tensors dim"),
    Row("chunk split", positions.split, "input size dim"),
    Row("mean sum amax amin std var logsumexp max min", positions.reduce_axes, "input dim keepdim"),
    Row(
        _of_ranks("Conv conv"),
        windows.convolution,
        "input weight bias stride padding dilation groups",
    ),
    Row(_of_ranks("MaxPool max_pool"), windows.pool, _MAX),
    Row(_of_ranks("AvgPool avg_pool"), windows.pool, _MEAN),
    Row(
        _of_ranks("AdaptiveAvgPool AdaptiveMaxPool adaptive_avg_pool adaptive_max_pool"),
        windows.adaptive_pool,
        "input output_size",
    ),
    Row(
        _of_ranks("ZeroPad ConstantPad ReflectionPad ReplicationPad CircularPad"),
        windows.pad,
    ),
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
    Row("LayerNorm layer_norm", heads.layer_norm, "input normalized_shape"),
)
_RULES = {name: row for row in ROWS for name in row.names.split()}


@dataclass(frozen=True)
class Plan:
    """What to do: the states of the answers, the edits to make, and what will not be exact."""

    answers: tuple[Maps, ...]
    edits: list[Callable[[], None]]
    remarks: list[str]

    @property
    def exact(self) -> bool:
        """Whether every position of every answer is the classifier's on its crop."""
        return all(axis.exact for answer in self.answers for axis in answer.along)


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
            return Plan(_answers(node, traced, states), edits, remarks)
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
        return Maps.image(len(site.traced.shape(node)) - 2)
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


def _answers(output: fx.Node, traced: Traced, states: dict[fx.Node, State]) -> tuple[Maps, ...]:
    """The states of what the network returns: vectors, for an image of the original size."""
    found = [_answer(node, traced, states) for node in results(output)]
    if not found:
        raise UsageError(f"got a model that returns {output.args[0]}, {_WANTED}")
    return tuple(found)


_WANTED = (
    "wanted tensors of class scores computed from the image: call eval(), or take the part of the "
    "model that returns the scores"
)


def results(output: fx.Node) -> list[fx.Node | None]:
    """What a network returns, alone or in tuples, lists and dictionaries; None: no tensor."""
    leaves = tree_leaves(output.args[0])
    return [leaf if isinstance(leaf, fx.Node) else None for leaf in leaves if leaf is not None]


def _answer(node: fx.Node | None, traced: Traced, states: dict[fx.Node, State]) -> Maps:
    state = node and states[node]
    # Of a node that gives several results nobody tells which of them are scores.
    if node is None or not isinstance(state, Maps) or not isinstance(traced.results[node], Tensor):
        raise UsageError(f"got a model that returns {node}, {_WANTED}")
    shape = traced.shape(node)
    laid = state.is_vector or (state.is_image and not state.pending)
    if not laid or not set(shape[2:]) <= {1}:
        raise UsageError(
            f"got a model that returns a tensor of shape {shape}, wanted (N, classes): "
            "a head that flattens or pools, and then linear layers"
        )
    return state
