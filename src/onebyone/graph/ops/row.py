"""What an ONNX operator is, as one row: all that the rest of the package asks of it by name.

Nearly every field has a default that claims nothing, so a row says only what is special. Those that
warn, `is_partial`, `is_random` and `grows`, a row must say where they hold. An operator that has no
row is opaque: it is run by the reference implementation, and no law looks through it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import onnx_ir as ir

from onebyone.algebra.geometry import Axis
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.window import Window
from onebyone.counting.formulas import Shape, Work
from onebyone.graph.axes import Spatial
from onebyone.graph.edit import Spelling
from onebyone.graph.ops.call import Kernel
from onebyone.graph.ops.channel_node import ChannelNode, Weight
from onebyone.graph.ops.flow import Reader as FlowReader
from onebyone.graph.ops.needs import Reader
from onebyone.graph.ops.selector import Selector
from onebyone.graph.ops.sizes import Entries
from onebyone.graph.ops.turned import Turned
from onebyone.graph.ops.weighed import Reader as WeighedReader
from onebyone.graph.picks import Asked

__all__ = [
    "Effort",
    "Manner",
    "NodeShapes",
    "Operands",
    "Operator",
    "Product",
    "Role",
    "Rounding",
    "Where",
    "first_if",
]


Operands = Sequence[ir.Value | None]
"""The inputs of a node, None where one is left out."""


class Role(Enum):
    """The part an operator plays in a linear region.

    It says how a node may take part; whether it does (constant weights, a kernel of 1, the channel
    axis left whole) is read from the node, by the row's functions.
    """

    CHANNEL_MAP = "mixes or scales channels, the same at every position"
    CONVOLUTION = "mixes channels and positions; a channel map where its kernel is 1"
    SPACE_MAP = "maps positions linearly, the same in every channel"
    SELECTION = "picks positions or channels"
    SUM = "adds tensors, or a constant"
    CONCAT = "stacks tensors along an axis"
    VIEW = "moves numbers, computes nothing"
    IDENTITY = "returns its operand"
    ELEMENTWISE = "a nonlinear function of each element"
    NORMALIZATION = "divides by statistics of its operand"
    QUANTIZATION = "rounds to, or comes from, integers"
    OPAQUE = "anything else"


class Rounding(Enum):
    """What an operator's rounding can do to a result that is computed before the model runs."""

    NEVER = "exact in any precision, for any type"
    ONCE = "rounded once, as IEEE 754 says: every engine gives the same bits"
    SMOOTHLY = "continuous: different orders of calculation differ by rounding"
    STEPS = "the last bit of an operand can decide"


class Effort(Enum):
    """What an operator costs an engine, for those that have no formula of multiply-accumulates."""

    FREE = "nothing: the data is not touched"
    MOVES = "it copies, selects or converts numbers"
    COMPUTES = "it calculates, a few operations an element"
    PRODUCTS = "it is made of multiply-accumulates, and no formula here counts them"


class Manner(Enum):
    """How an operator goes about its numbers; `cost.price` says what that costs."""

    VIEW = "no number moves"
    PASS = "numbers are read and written in the order in which they stand"
    STRETCH = "whole stretches are copied, and the rest is not read"
    SPLIT = "a result is cut up in stretches"
    SCATTER = "numbers go one by one to other places"
    BLOCKS = "channels become places in a block of an image, or the reverse"
    LINES = "each line of numbers that stand far apart is taken by itself"
    STAMP = "each number read is weighed into a block of those written"
    INTERPOLATION = "each number is a weighted sum of its neighbours"


class Where(Enum):
    """What holds of some nodes of an operator, and not of others."""

    WHOLE_CHANNELS = "it cuts no positions, but whole channels"
    ROWS = "what it moves stands in one stretch each"
    INTERPOLATING = "it does more than copy the nearest"
    AFAR = "it works along none of the last two axes"


@dataclass(frozen=True)
class NodeShapes:
    """A node as a formula of its multiply-accumulates sees it.

    Args:
        node: for its attributes.
        shapes: of the row's operands, in the row's order; () for one that is absent.
        fixed: which of these operands are constant.
        output: the shape of the node's first output; () if it is absent.
        biased: whether the node itself adds a bias.
    """

    node: ir.Node
    shapes: tuple[Shape, ...]
    fixed: tuple[bool, ...]
    output: Shape
    biased: bool = False


@dataclass(frozen=True)
class Product:
    """The formula, the inputs whose shapes it reads (None: all), and the input that is a bias."""

    formula: Callable[[NodeShapes], Work]
    operands: tuple[int, ...] | None
    bias: int | None = None


@dataclass(frozen=True)
class Operator:
    """An operator of the standard domain.

    Axes are those of the first output, or as the field says; readers raise nothing on nodes that
    have passed ONNX's checker.
    """

    name: str
    role: Role = Role.OPAQUE

    # --- Its value -------------------------------------------------------------------------------
    # Called as kernel(call, *inputs). None, or a kernel that returns None: the reference
    # implementation of the onnx package runs the node.
    value: Kernel | None = None
    # What computing it beforehand can change; None: the node stays though its operands are known.
    # Quantisation stays: engines look for its operators, and 8 bits would be stored as 32.
    rounding: Rounding | None = None
    # Integers are calculated as numbers are, by engines and NumPy alike.
    is_sure_of_integers: bool = False
    # Engines differ in what they make of NaN.
    is_unsure_of_nan: bool = False
    # The numbers in an operand, not only its shape, say how large the result is.
    grows: bool = False
    is_random: bool = False
    # Its operands may change places.
    commutes: bool = False
    # It asks which of its operands is the larger, or whether they are equal.
    compares: bool = False
    # What it gives are numbers of its operands in other places, or of another type.
    relays: bool = False
    # How large the terms are that the result sums up, of the sizes of the operands' terms: by the
    # operator of this name, or by a kernel. None: to first order, by moving the operands.
    magnitude: str | Kernel | None = None

    # --- Sizes and what changes nothing ----------------------------------------------------------
    # Followed where sizes are computed from sizes: "whole" on integers, "any" on floating-point
    # numbers too, because IEEE 754 determines the result to the last bit.
    on_sizes: Literal["", "whole", "any"] = ""
    # Slot of the operand that lists the sizes of the result.
    target: int | None = None
    # The entries of its result where it hands sizes on, of the entries known so far.
    entries: Callable[[ir.Node, dict[ir.Value, Entries]], Entries | None] | None = None
    # The index of the operand that the first result equals, in value, type and shape; None: it
    # computes something. x + 0 of a negative zero is a positive one, and counts as equal.
    unchanged: Callable[[ir.Node], int | None] | None = None

    # --- What it does to axes --------------------------------------------------------------------
    # The node as a channel map on an axis. None: it is none there.
    channels: Callable[[ir.Node, int], ChannelNode | Refusal | None] | None = None
    # Where it stores the weight by which it mixes channels, and in which layout.
    weight: Callable[[ir.Node], Weight] | None = None
    # The axis of the output that the operator itself defines as channels.
    channel_axis: int | Callable[[ir.Node], int | None] | None = None
    # Its constants have the sizes of channels and kernels, and none of positions.
    weighs: bool = False
    # Windows slide over its positions: kernel_shape, strides, dilations.
    has_windows: bool = False
    # It gives more or fewer positions than it reads, by a factor that they have in common.
    rescales: bool = False
    # Its operands or its results say which positions, or how many: others at other sizes.
    names_positions: bool | Callable[[Operands], bool] = False
    # The node as a map of the positions of its first input.
    space: Callable[[ir.Node], Spatial | Refusal | None] | None = None
    # The node as a sum of positions that are weighed by another operand, on an axis of channels.
    weighed: WeighedReader | None = None
    # Whether along the axes that it mixes its result is positive, and sums to one.
    shares: bool = False

    # How it is told its axes, once those of its first operand (of all, for a concat) stand in
    # another order. What is elementwise need not be told; None: the axes are not free.
    turned: Turned | None = None
    # How channels of its operands become those of its result, on an axis; for what is elementwise,
    # or maps positions, the rest of the row says it.
    flow: FlowReader | None = None
    # Whether it has values that it is not defined, or too large, for: then what nobody needs has to
    # stay a number.
    is_partial: bool | Callable[[ir.Node], bool] = False

    # --- Which positions it needs for some of its result -----------------------------------------
    # Each number is made of those at the same position of the operands, aligned at the last axes.
    elementwise: bool = False
    # The axes along which it mixes the positions of its first operand, by the opset; along all
    # others each position of the result is made of the same one, and of all other operands.
    mixes: Callable[[ir.Node, int], Collection[int]] | None = None
    # Of all others. None: all positions of all operands.
    needs: Reader | None = None
    # All its results are pieces of its first operand, whole or cut alike.
    splits: bool = False
    # Its second operand lists the positions that it picks of the first.
    gathers: bool = False
    # Its result holds the numbers of its first operand and no others, in any shape and order.
    hands_on: bool = False
    # What it takes of its first operand, of which the shape is given; None: no fixed positions.
    takes: Callable[[ir.Node, ir.Shape], Selector | None] | None = None
    # Axis -> the window there; empty where there is none, or sizes are not rounded down.
    windows: Callable[[ir.Node], dict[int, Window]] | None = None
    # Axis -> where its results look there, in positions of the first operand, or why that cannot be
    # said; along all others each position is made of the same one. None: it does not slide.
    slides: Callable[[ir.Node], Mapping[int, Axis | str]] | None = None
    # What tells it its sizes, for some positions of the result and of each operand.
    spelled: Callable[[ir.Node, Asked, Mapping[int, Asked]], Spelling] | None = None

    # --- What it costs, and which of its inputs are weights --------------------------------------
    work: Product | None = None
    effort: Effort | Callable[[ir.Node], Effort] = Effort.COMPUTES
    # How it goes about its numbers if it takes any effort, and where it does so in another manner.
    manner: Manner = Manner.PASS
    manner_where: tuple[Where, Manner] | None = None
    # To those who count; it may hang on the node and on the shapes that it reads and writes.
    kind: str | Callable[[ir.Node, Shape, Shape], str] = "other"
    # Slots of inputs that set the operator up: an epsilon, a mask, the scales of a quantisation.
    settings: tuple[int, ...] = ()
    # Slots of which only the shape or the type is read, never a number.
    unread: tuple[int, ...] = ()
    # Slots of running statistics, which are stored and not trained.
    buffers: tuple[int, ...] = ()
    # Slots of integers that stand for trained floats.
    codes: tuple[int, ...] = ()


def first_if(test: Callable[[ir.Node], bool]) -> Callable[[ir.Node], int | None]:
    """For `Operator.unchanged`: the first operand, where `test` holds of the node."""
    return lambda node: 0 if test(node) else None
