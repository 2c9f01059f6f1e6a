"""Search: the cheapest plan for a term.

A word may be walked in many orders (`algebra.word`), so each node of a term gets a table: for every
state (i, j) the cheapest plan for "S₁…S_i and W₁…W_j of the word above are applied to this node". A
table begins with what the node offers by itself,

    Leaf          (0, 0), for nothing; of one-hot vectors (0, j), rows of a table
    Sum           (i, j): every summand brought to (i, j), then added
    Concat        (i, j): every operand brought to (i, j) and stacked, while W₁…W_j are diagonal;
                  with a dense one among them, cut into columns and added: W[x₁; x₂] = W₁x₁ + W₂x₂
    Joined        (0, j): W₁…W_j applied to every operand: W[x₁ ∥ x₂] = [Wx₁ ∥ Wx₂]
    Convolution   (0, j): W₁…W_j multiplied into the kernel, and channel maps below it too;
                  (1, j): S₁ as well, where it is an average pool
    Choice        the better of its terms, state by state

and is filled by walking on: multiply a run of maps into one and apply it, apply a space map, or
drop a run of views that cancel. Runs of maps are multiplied whichever way is cheapest, so a chain
comes out in matrix-chain order and stays factored where r(a + b) < ab."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf

import onnx_ir as ir

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.expression import Choice, Concat, Convolution, Joined, Leaf, Node, Sum, Term
from onebyone.algebra.word import Word
from onebyone.cost.profile import Cost
from onebyone.optimize.regions.additions import broadcast, joints, may_go_on, subtracted
from onebyone.optimize.regions.lookup import look_ups
from onebyone.optimize.regions.plan import (
    Add,
    Apply,
    Cancel,
    Convolve,
    Flush,
    Input,
    Join,
    Move,
    Plan,
    Run,
    Stack,
    absorbing,
    runs,
)
from onebyone.optimize.regions.price import Pricer
from onebyone.optimize.regions.steps import KernelNode, Step, cancels, steps

__all__ = ["Planner"]

State = tuple[int, int]
Table = dict[State, dict[str, Plan]]
"""For each state the cheapest plan of each standing (`_standing`)."""


@dataclass(frozen=True)
class Planner:
    """Search under a set of laws; with none of them the plan is the graph as it stands.

    What is computed from a value `without` which it shall do is computed from what is behind it.
    What takes longer than the `limit`, in picoseconds, is not looked for.
    """

    price: Pricer
    laws: frozenset[str]
    without: frozenset[ir.Value] = frozenset()
    limit: float = inf

    def best(self, term: Term) -> Plan | None:
        """The cheapest plan for a term; None where no operator applies one of its factors."""
        table = self._table(term.node, term.word)
        end = len(term.word.spaces), len(term.word.maps)
        plans = [self._flushed(plan) for plan in _at(table, *end)]
        return min(plans, key=lambda plan: plan.cost, default=None)

    def _flushed(self, plan: Plan) -> Plan:
        if not plan.pending or plan.carrier:
            return plan
        cost = plan.cost + self.price.elementwise(plan.layout, plan.channels)
        return Plan(cost, plan.layout, plan.channels, Flush(plan), carrier=True, laws=plan.laws)

    def _keep(self, table: Table, state: State, plan: Plan) -> None:
        """Enter a plan if it is the cheapest; what a carrier can take is given to it at once."""
        if plan.pending and plan.carrier:
            cost = plan.cost + self.price.bias(plan.channels)
            plan = plan._replace(cost=cost, how=Flush(plan), pending=False)
        plans, standing = table.setdefault(state, {}), _standing(plan)
        if standing not in plans or plan.cost < plans[standing].cost:
            plans[standing] = plan

    # What each kind of node offers -------------------------------------------------------------

    def _table(self, node: Node, word: Word) -> Table:
        if isinstance(node, Convolution) and isinstance(node.term.node, Choice):
            node = node.distributed
        if isinstance(node, Choice):
            return self._choice(node, word)
        table: Table = {}
        for state, plan in self._sources(node, word):
            self._keep(table, state, plan)
        if word.spaces or word.maps or not isinstance(node, Leaf):
            self._walk(table, word)
        return table

    def _sources(self, node: Node, word: Word) -> Iterator[tuple[State, Plan]]:
        if isinstance(node, Leaf):
            if node.value[0] in self.without:
                return
            layout = node.value[1]
            there = self.price.leaf(layout, node.channels, node.marks)
            yield (0, 0), Plan(there, layout, node.channels, Input(node))
            yield from look_ups(node, word, self.laws, self.price, self._crossed)
        elif isinstance(node, Sum):
            yield from self._sum(node, word)
        elif isinstance(node, Concat):
            yield from self._concat(node, word)
        elif isinstance(node, Joined):
            yield from self._joined(node, word)
        elif isinstance(node, Convolution):
            yield from self._convolution(node, word)

    def _choice(self, node: Choice, word: Word) -> Table:
        first, *others = self._offered(node)
        table = self._term(first, word)
        for term in others:
            for state, plans in self._term(term, word).items():
                for plan in plans.values():
                    self._keep(table, state, _by(node.law, plan))
        return table

    def _term(self, term: Term, word: Word) -> Table:
        """The table of a term, in the states of the word above it."""
        spaces, maps = len(term.word.spaces), len(term.word.maps)
        table = self._table(term.node, term.word.then(word))
        if not (spaces or maps):
            return table
        return {
            (i - spaces, j - maps): plans
            for (i, j), plans in table.items()
            if i >= spaces and j >= maps
        }

    def _offered(self, node: Choice) -> tuple[Term, ...]:
        """The terms to choose from under the laws in force; the first one is the graph's."""
        free = node.law in self.laws if node.law else bool(self.laws)
        return node.terms if free else node.terms[:1]

    def _sum(self, node: Sum, word: Word) -> Iterator[tuple[State, Plan]]:
        if "sum" not in self.laws or node.closed:
            word = Word()  # of the tables no other state is looked at
        words = [word] + [word.linear] * (len(node.terms) - 1)
        tables = self._operands(node.terms, words)
        last = len(word.spaces), len(word.maps)
        for i in joints(word, last[0]):
            for j in range(last[1] + 1):
                law = "sum" if i + j else ""
                yield from self._added(tables, (i, j), law, at_once=node.at_once)

    def _concat(self, node: Concat, word: Word) -> Iterator[tuple[State, Plan]]:
        if "split" not in self.laws:
            yield from self._stacked(self._operands(node.terms, [Word()] * len(node.terms)), 0, 0)
            return
        sizes = [term.channels for term in node.terms]
        diagonal = next((k for k, f in enumerate(word.maps) if not f.is_diagonal), len(word.maps))
        tables = self._operands(node.terms, word.parts(sizes, diagonal))
        for i in joints(word, len(word.spaces)):
            for j in range(len(word.maps) + 1):
                if j <= diagonal:
                    yield from self._stacked(tables, i, j)
                else:
                    yield from self._added(tables, (i, j), "split")

    def _joined(self, node: Joined, word: Word) -> Iterator[tuple[State, Plan]]:
        """Maps go to every operand; a bias goes with them, or is added to the whole."""
        inner = word.inner if "commute" in self.laws else Word()
        offers = [(True, inner)]
        if inner.biased(0, 0, len(inner.maps)):
            offers.append((False, inner.linear))
        for flushed, each in offers:
            tables = self._operands(node.terms, [each] * len(node.terms))
            for j in range(len(each.maps) + 1):
                found = [self._operand(table, 0, j, flushed=True) for table in tables]
                plans = tuple(plan for plan in found if plan is not None)
                pending = not flushed and word.biased(0, 0, j)
                if len(plans) < len(tables) or not (flushed or pending):
                    continue
                how = Join(plans, node.along, word, j, flushed)
                cost = sum(
                    (p.cost for p in plans), self.price.concat(node.layout, plans[0].channels)
                )
                laws = _laws(plans, *["commute"] * bool(j), *self._crossed(word, 0, j))
                carrier = all(plan.carrier for plan in plans)
                width = plans[0].channels
                yield (0, j), Plan(cost, node.layout, width, how, carrier, pending, laws)

    def _operands(self, terms: tuple[Term, ...], words: list[Word]) -> list[Table]:
        """The operands' tables, in the states of the word above them."""
        return [self._term(term, word) for term, word in zip(terms, words, strict=True)]

    def _added(
        self, tables: list[Table], state: State, law: str, *, at_once: bool = False
    ) -> Iterator[tuple[State, Plan]]:
        """The sum at a state, by a law: cheapest, and cheapest with some operand as a carrier."""
        cheapest = [_cheapest(table, *state) for table in tables]
        plans = [plan for plan in cheapest if plan is not None]
        if len(plans) < len(tables):
            return
        choices = [plans]
        if not any(plan.carrier for plan in plans):
            carriers = [table.get(state, {}).get("carrier") for table in tables]
            choices += [
                [*plans[:k], plan, *plans[k + 1 :]] for k, plan in enumerate(carriers) if plan
            ]
        for chosen in choices:
            yield state, self._sum_of(chosen, law, at_once)

    def _sum_of(self, plans: list[Plan], law: str, at_once: bool) -> Plan:
        if not at_once:
            plans = subtracted(plans, takes_biases="affine" not in self.laws)
        if self.laws:  # else it is the graph as it stands
            plans = broadcast(plans)
        widest = max(plans, key=lambda plan: plan.layout.positions)
        cost = sum((plan.cost for plan in plans), Cost())
        cost += self.price.addition(widest.layout, widest.channels, len(plans), at_once=at_once)
        carrier = any(plan.carrier for plan in plans)
        pending = any(plan.pending for plan in plans)
        how = Add(tuple(plans), law == "split", at_once)
        laws = _laws(plans, *[law] * bool(law))
        return Plan(cost, widest.layout, widest.channels, how, carrier, pending, laws)

    def _stacked(self, tables: list[Table], i: int, j: int) -> Iterator[tuple[State, Plan]]:
        """The concat at state (i, j), with pending biases added before it or passed on."""
        for flushed in (True, False):
            found = [self._operand(table, i, j, flushed) for table in tables]
            plans = [plan for plan in found if plan is not None]
            if len(plans) < len(tables):
                return
            layout, channels = plans[0].layout, sum(plan.channels for plan in plans)
            cost = sum((plan.cost for plan in plans), self.price.concat(layout, channels))
            # A bias of the whole is shared out among the operands, if each can take its part.
            carrier = flushed and all(plan.carrier for plan in plans)
            pending = not flushed and any(plan.pending for plan in plans)
            how, laws = Stack(tuple(plans), flushed), _laws(plans)
            yield (i, j), Plan(cost, layout, channels, how, carrier, pending, laws)
            if not any("pending" in table[i, j] for table in tables):
                return  # nothing to pass on

    def _operand(self, table: Table, i: int, j: int, flushed: bool) -> Plan | None:
        # Without owing a bias, or as it is: a concat has to know which.
        plans = _at(table, i, j)
        if flushed:
            plans = [self._flushed(plan) for plan in plans]
        return min(plans, key=lambda plan: plan.cost, default=None)

    def _convolution(self, node: Convolution, word: Word) -> Iterator[tuple[State, Plan]]:
        kernel: KernelNode = node.kernel
        below = node.term.word
        # Whatever is multiplied into it.
        if self.limit < inf and self._cheapest(kernel, below, word).picoseconds > self.limit:
            return
        table = self._table(node.term.node, below)
        for inner in range(len(below.maps) + 1):
            kept = len(below.maps) - inner
            if not self._absorbs_inner(kernel, below, kept):
                break
            plan = _cheapest(table, len(below.spaces), kept)
            if plan is None:
                continue
            if kernel.padded:  # a bias in front of zeros is not the same bias behind
                plan = self._flushed(plan)
            for i, whole in enumerate(self._averaged(kernel, word)):
                for to in range(len(word.maps) + 1):
                    if self._multiplies(kernel, word.maps[:to]) and self._allows(word, i, to):
                        how = Convolve(plan, whole, below.maps[kept:], word, i, to)
                        yield (i, to), self._convolved(how)

    def _cheapest(self, kernel: KernelNode, below: Word, word: Word) -> Cost:
        """What a kernel takes at least, with the least channels that it can have on either side."""
        least = (
            min([kernel.in_channels, *(f.in_channels for f in below.maps)]),
            min([kernel.out_channels, *(f.out_channels for f in word.maps)]),
        )
        kernels = self._averaged(kernel, word)
        return min(self.price.convolution(each, least, is_kept=True) for each in kernels)

    def _averaged(self, kernel: KernelNode, word: Word) -> Iterator[KernelNode]:
        """The kernel, and what it is with an average pool that comes first behind it."""
        yield kernel
        if word.spaces and "pool" in self.laws:
            averaged = kernel.averaged(steps(word)[0])
            if averaged is not None:
                yield averaged

    def _absorbs_inner(self, kernel: KernelNode, below: Word, kept: int) -> bool:
        """Whether maps[kept:] below a kernel may be multiplied into it."""
        inner = below.maps[kept:]
        last = below.segments[-1]
        for k, f in enumerate(inner, kept):
            if f.bias is not None and (kernel.padded or below.segment_of(k) != last):
                return False
        return self._multiplies(kernel, inner)

    def _multiplies(self, kernel: KernelNode, maps: tuple[ChannelMap, ...]) -> bool:
        """Whether maps may enter the kernel: diagonal ones, others if it has no groups."""
        if maps and "affine" not in self.laws and any(f.is_diagonal for f in maps):
            return False
        mixing = [f for f in maps if not f.is_diagonal]
        return not mixing or ("compose" in self.laws and kernel.groups == 1)

    def _convolved(self, how: Convolve) -> Plan:
        plan, kernel, inner, word, to = how.before, how.kernel, how.inner, how.word, how.to
        # The last map that is multiplied in says how many channels come out.
        c_out = word.maps[to - 1].out_channels if to else kernel.out_channels
        unchanged = kernel.is_own and all(f.is_shift for f in (*inner, *word.maps[:to]))
        kept = kernel.shared and unchanged
        cost = plan.cost + self.price.convolution(kernel, (plan.channels, c_out), kept)
        pending = kernel.biased or plan.pending or any(f.bias is not None for f in inner)
        pending = pending or word.biased(0, 0, to)
        absorbed = [*absorbing((*inner, *word.maps[:to])), *["pool"] * how.i]
        laws = _laws([plan], *absorbed, *self._crossed(word, how.i, to), *self._taken(plan))
        return Plan(cost, kernel.after, c_out, how, carrier=True, pending=pending, laws=laws)

    # Walking a word ----------------------------------------------------------------------------

    def _walk(self, table: Table, word: Word) -> None:
        """Fill a table: every edge leads to a larger i or j, so one pass in order suffices."""
        for i in range(len(word.spaces) + 1):
            for j in range(len(word.maps) + 1):
                if (plans := table.get((i, j))) is None:
                    continue
                # Pending first: with its bias added, a plan is another one at this state.
                for standing in ("pending", "plain", "carrier"):
                    plan = plans.get(standing)
                    # Whatever is done to it, it does not take less time.
                    if plan is None or plan.cost.picoseconds > self.limit:
                        continue
                    if not may_go_on(plan, word, i):
                        continue
                    if plan.pending:
                        self._keep(table, (i, j), self._flushed(plan))
                    for state, further in self._onward(plan, word, i, j):
                        self._keep(table, state, further)

    def _allows(self, word: Word, i: int, j: int) -> bool:
        if not word.spaces:  # nothing to be in another order with
            return True
        if not word.allows(i, j):
            return False
        if "commute" in self.laws and "linear" in self.laws:
            return True
        return all(law in self.laws for law in self._crossed(word, i, j))

    def _crossed(self, word: Word, i: int, j: int) -> Iterator[str]:
        """The laws by which state (i, j) has spaces and maps out of their original order."""
        for k in word.out_of_order(i, j):
            yield "linear" if steps(word)[k].is_view else "commute"

    def _onward(self, plan: Plan, word: Word, i: int, j: int) -> Iterator[tuple[State, Plan]]:
        if j < len(word.maps):
            yield from self._applied(plan, word, i, j, None)
        # All positions are as they shall be: only maps are left.
        if i == len(word.spaces):
            return
        step, allowed = steps(word)[i], self._allows(word, i + 1, j)
        if allowed and step.window is not None and plan.layout.channels_first:
            yield from self._applied(self._before(step, plan), word, i, j, step)
        moves = step.window is None or ("commute" in self.laws and not any(step.window.pads))
        if allowed and moves:
            yield self._moved(plan, word, i, j, step)
        if step.is_view and "linear" in self.laws:
            yield from self._cancelled(plan, word, i, j)

    def _moved(self, plan: Plan, word: Word, i: int, j: int, step: Step) -> tuple[State, Plan]:
        preserves, plan = step.preserves_constants, self._before(step, plan)
        cost = plan.cost + self.price.step(step, plan.channels)
        # What is in front takes no bias that may be added behind only.
        carrier = plan.carrier and preserves and not step.rounds_constants
        pending = plan.pending or word.arrives(i, j)
        how, laws = Move(plan, word, i, j), _laws([plan], *self._crossed(word, i + 1, j))
        after = Plan(cost, step.after, plan.channels, how, carrier, pending, laws)
        return (i + 1, j), after

    def _before(self, step: Step, plan: Plan) -> Plan:
        """A plan that a step may follow: what changes constants lets no bias pass."""
        if step.preserves_constants:
            return plan
        return self._flushed(plan)

    def _cancelled(self, plan: Plan, word: Word, i: int, j: int) -> Iterator[tuple[State, Plan]]:
        run: list[Step] = []
        for k, step in enumerate(steps(word)[i:], i):
            if not step.is_view:
                return
            run.append(step)
            if cancels(run) and self._allows(word, k + 1, j):
                how, laws = Cancel(plan, tuple(run)), _laws([plan], "linear")
                cancelled = plan._replace(how=how, layout=step.after, laws=laws)
                yield (k + 1, j), cancelled

    def _applied(
        self, plan: Plan, word: Word, i: int, j: int, window: Step | None
    ) -> Iterator[tuple[State, Plan]]:
        """The products of maps j … to − 1, for every `to` that the laws in force let reach."""
        # The stride goes in front of a map that stood before it.
        passes = window is not None and j < len(word.maps) and word.slots[j] <= i
        if passes and "commute" not in self.laws:
            return
        for run in runs(word, j, plan.channels):
            if not run.laws <= self.laws:
                return
            state = i + (window is not None), run.to
            if not self._allows(word, *state):
                continue
            done = self._apply(plan, Apply(plan, word, i, j, run.to, window), run, passes)
            if done is not None:
                yield state, done

    def _apply(self, plan: Plan, how: Apply, run: Run, passes: bool) -> Plan | None:
        """One product applied; None where no operator applies it in this layout."""
        window = how.window
        # As many groups as channels: a diagonal, which is no product of matrices.
        scales = window is None and run.groups == plan.channels == run.channels
        if not scales and not plan.layout.takes_product(run.groups):
            return None
        i = how.i + (window is not None)
        # Zeros that are padded are not what a bias was added to.
        same = window is None or window.preserves_constants
        pending = (same and plan.pending) or how.word.biased(i, how.j if same else 0, how.to)
        crossed = [*self._crossed(how.word, i, how.to), *["commute"] * passes]
        laws = _laws([plan], *run.laws, *crossed, *self._taken(plan))
        if scales:
            cost, carrier, more = self._scaled(plan, run)
            return Plan(cost, plan.layout, plan.channels, how, carrier, pending, laws | more)
        # A convolution strides on its own.
        after = plan.layout
        if window is not None:
            after = window.after
        channels = plan.channels, run.channels
        # As the graph stands (no laws), what others keep is read as it is.
        kept = run.is_shared and (not self.laws or run.serves(plan.layout))
        price = self.price.linear(plan.layout, after, channels, run.groups, kept)
        carrier = plan.layout.carries_bias
        return Plan(plan.cost + price, after, run.channels, how, carrier, pending, laws)

    def _taken(self, plan: Plan) -> Iterator[str]:
        """The law by which a product takes a shift that is pending before it into its own bias."""
        if plan.pending and "affine" in self.laws:
            yield "affine"

    def _scaled(self, plan: Plan, run: Run) -> tuple[Cost, bool, frozenset[str]]:
        """What a diagonal costs with the plan, whether it carries a bias, and by which law.

        It is elementwise; a mere shift becomes pending and costs nothing yet.
        """
        if run.only_shifts and "affine" in self.laws:
            # Only what carries it takes it up here.
            return plan.cost, plan.carrier, frozenset(["affine"] * plan.carrier)
        # A shift becomes a bias that is pending, and is counted where something takes it up.
        vectors = int(not run.only_signs)
        cost = plan.cost + self.price.elementwise(plan.layout, plan.channels, vectors)
        carrier = plan.layout.axis == 1 or "affine" not in self.laws
        return cost, carrier, frozenset()


def _standing(plan: Plan) -> str:
    """Whether a plan owes a bias, could take one for free, or neither."""
    if plan.pending:
        return "pending"
    if plan.carrier:
        return "carrier"
    return "plain"


def _at(table: Table, i: int, j: int) -> list[Plan]:
    return list(table.get((i, j), {}).values())


def _cheapest(table: Table, i: int, j: int) -> Plan | None:
    return min(_at(table, i, j), key=lambda plan: plan.cost, default=None)


def _by(law: str, plan: Plan) -> Plan:
    """A plan that is reached by a law; by none, where there is none to tell."""
    if not law:
        return plan
    return plan._replace(laws=plan.laws | {law})


def _laws(plans: Iterable[Plan], *more: str) -> frozenset[str]:
    return frozenset(more).union(*(plan.laws for plan in plans))
