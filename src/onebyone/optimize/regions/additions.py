"""What an addition does by itself, so that it reads an operand as it was before.

a + (−b)        = a − b      as long as one operand is not negated
a + Expand(b)   = a + b      where a is as long: the sum broadcasts b
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from onebyone.algebra.word import Word
from onebyone.optimize.regions.plan import Apply, Move, Plan
from onebyone.optimize.regions.steps import Step, steps

__all__ = ["broadcast", "is_broadcast", "joints", "may_go_on", "subtracted", "unrepeated"]


def subtracted(plans: Sequence[Plan], *, takes_biases: bool) -> list[Plan]:
    """Operands of a sum: what was only negated, beside one that was not, is subtracted.

    That costs nothing, and takes up no bias; a negation that stays `takes_biases`.
    """
    negated = {k: positive for k, plan in enumerate(plans) if (positive := _positive(plan))}
    kept = list(plans)
    for k in list(negated)[len(negated) == len(plans) :]:
        carrier = plans[k].carrier and takes_biases
        kept[k] = plans[k]._replace(cost=negated[k].cost, carrier=carrier)
    return kept


def broadcast(plans: Sequence[Plan]) -> list[Plan]:
    """Operands of a sum: single positions that are repeated beside something as long are not."""
    kept = list(plans)
    for k in unrepeated(plans):
        kept[k] = plans[k]._replace(cost=cast(Move, plans[k].how).before.cost)
    return kept


def unrepeated(plans: Sequence[Plan]) -> list[int]:
    """The operands of a sum that it may read before they are repeated, beside one that is not."""
    moved = {k: step for k, plan in enumerate(plans) if (step := _last(plan)) is not None}
    repeated = {k: step for k, step in moved.items() if step.repeats}
    # What the sum itself broadcasts is as short.
    short = {*repeated, *(k for k, step in moved.items() if step.broadcasts)}
    others = [plan for k, plan in enumerate(plans) if k not in short]
    return [k for k, step in repeated.items() if any(step.serves_beside(p.layout) for p in others)]


def is_broadcast(plan: Plan) -> bool:
    """Whether the last thing that is done is done by the Add above."""
    step = _last(plan)
    return step is not None and step.broadcasts


def _last(plan: Plan) -> Step | None:
    """The step that is applied last."""
    if not isinstance(plan.how, Move):
        return None
    return steps(plan.how.word)[plan.how.i]


def _positive(plan: Plan) -> Plan | None:
    """What a plan negates, if it does nothing else; what broadcasts is the Add above."""
    while is_broadcast(plan):
        plan = cast(Move, plan.how).before
    how = plan.how
    if not isinstance(how, Apply) or how.window is not None or how.to > how.j + 1:
        return None
    return how.before if how.word.maps[how.j].is_negation else None


def joints(word: Word, last: int) -> Iterator[int]:
    """Where operands may be joined: not right after a broadcast, which only the Add above does."""
    return (i for i in range(last + 1) if not (i and steps(word)[i - 1].broadcasts))


def may_go_on(plan: Plan, word: Word, i: int) -> bool:
    """An Add broadcasts its operands itself, so nothing comes between a broadcast and its Add."""
    return not is_broadcast(plan) or (i < len(word.spaces) and steps(word)[i].broadcasts)
