"""Whose turn it is: weighted and equal rotation that stays fair while members come and go.

A turn is taken among the members that can take it just now, so every turn may have other members.
Two rules, each fair in the sense that fits its weights:

Equal weights: the member whose last turn is longest ago. Then any two members that are both there
take turns strictly, whatever the others do; over n turns with the same n members each has exactly
one; and a member that is there in any n turns has at least one of them, however it flaps. (An index
into the list, taken modulo its length, has none of these.) Proof of the last: each turn somebody else
takes moves one member from before it in the line to behind it.

Unequal weights: smooth weighted rotation. Each turn gives every member that is there its share of
that turn, w / (sum of w), and charges the one that has most a whole turn. With the same members all
the time this is nginx's smooth round robin, 5:1:1 giving `a a b a c a a`. The charge is one turn
however many are there; nginx's, the sum of the weights, would charge more for a turn among many than
for one among few, and so skew the shares of flapping members. Credits of absent members stand still.
With arbitrary members in each turn this is the carpool problem, and every member's turns stay within
a bound of the sum of its shares (Fagin and Williams, "A fair carpool scheduling algorithm", 1983).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["Rotation"]

_TIE = 1e-9  # credits are sums of shares: equal ones differ by rounding


class _Seat:
    """One member's place in the line, and what it is owed."""

    __slots__ = ("credit", "last")

    def __init__(self, last: int) -> None:
        self.last = last  # the number of its last turn; below 0 before its first
        self.credit = 0.0  # in turns


class Rotation:
    """The line of one pool, by names of members; lives over reloads."""

    __slots__ = ("_newest", "_seats", "_turn")

    def __init__(self) -> None:
        self._seats: dict[str, _Seat] = {}
        self._turn = 0
        self._newest = -(1 << 62)  # members not yet seen stand at the head of the line, in the order they came

    def turn(self, names: Sequence[str], weights: Sequence[float]) -> int:
        """Take a turn: the index of the member whose it is. All weights are above 0."""
        seats = [self._seats.get(name) or self._seat(name) for name in names]
        is_equal = weights.count(weights[0]) == len(weights)
        picked = _oldest(seats) if is_equal else _richest(seats, weights)
        self._turn += 1
        seats[picked].last = self._turn
        return picked

    def keep(self, names: Iterable[str]) -> None:
        """Forget members that are no more."""
        self._seats = {name: seat for name in names if (seat := self._seats.get(name)) is not None}

    def _seat(self, name: str) -> _Seat:
        self._newest += 1
        seat = self._seats[name] = _Seat(self._newest)
        return seat


def _oldest(seats: Sequence[_Seat]) -> int:
    picked = 0
    for index, seat in enumerate(seats):
        if seat.last < seats[picked].last:
            picked = index
    return picked


def _richest(seats: Sequence[_Seat], weights: Sequence[float]) -> int:
    total = sum(weights)
    picked = 0
    for index, (seat, weight) in enumerate(zip(seats, weights, strict=True)):
        seat.credit += weight / total
        lead = seat.credit - seats[picked].credit
        if lead > _TIE or (lead >= -_TIE and seat.last < seats[picked].last):
            picked = index
    seats[picked].credit -= 1
    return picked
