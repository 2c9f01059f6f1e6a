"""Small graphs, one for each thing that a law of the table covers, and their opposites."""

from .affine import AFFINE
from .case import Case
from .commute import COMMUTE
from .compose import COMPOSE
from .join import SPLIT, SUM
from .linear import LINEAR
from .refused import REFUSED

__all__ = ["APPLIES", "REFUSED", "Case"]

APPLIES = (*COMPOSE, *AFFINE, *SPLIT, *COMMUTE, *SUM, *LINEAR)
