"""Whose turn it is: weighted and equal rotation that stays fair while members come and go.

A turn is taken among the members that can take it just now, so every turn may have other members.
Two rules, each fair in the sense that fits its weights:

Equal weights: the member whose last turn is longest ago. Then any two members that are both there
take turns strictly, whatever the others do; over n turns with the same n members each has exactly
one; and a member that is there in any n turns has at least one of them, however it flaps. (An index
into the list, taken modulo its length, has none of these.) Proof of the last: each turn somebody else
takes moves one member from before it in the line to behind it. Nobody behind the first who is there
need be looked at, so a turn among a thousand costs what one among two does; and who is not there soon
stands before that one, and is passed over.

Unequal weights: smooth weighted rotation. Each turn gives every member that is there its share of
that turn, w / (sum of w), and charges the one that has most a whole turn. With the same members all
the time this is nginx's smooth round robin, 5:1:1 giving `a a b a c a a`. The charge is one turn
however many are there; nginx's, the sum of the weights, would charge more for a turn among many than
for one among few, and so skew the shares of flapping members. Credits of absent members stand still.
With arbitrary members in each turn this is the carpool problem, and every member's turns stay within
a bound of the sum of its shares (Fagin and Williams, "A fair carpool scheduling algorithm", 1983).

The second rule looks at everybody. Among many it therefore rules between lines, each of the members of
one weight and owed what they all are; within a line the first rule does. So a turn costs as much as there
are different weights. A member in the midst of a line counts as it was when it was last looked at, a
round ago at most; who was not there then is looked at every time.

Slow start leaves a member a part of its weight. In a line it saves that part whenever it comes first,
goes to the end, and takes a turn once it has a whole one saved: the share of a weight of that part.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["Rotation"]

_FEW = 16  # members of unequal weights who are all looked at
_TIE = 1e-9  # credits are sums of shares: equal ones differ by rounding


class _Seat:
    """One member's place in its line."""

    __slots__ = ("last", "line", "name", "part", "saved", "weight")

    def __init__(self, name: str, weight: float, last: int) -> None:
        self.name = name
        self.weight = weight
        self.last = last  # the number of its last turn; below 0 before its first
        self.line: _Line  # where it stands
        self.part = 1.0  # of its weight that counted when it was last looked at; 0: it was not there
        self.saved = 0.0  # of such parts, while less than a turn


_Moves = list[tuple[_Seat, float]]


class _Line:
    """Members of one weight, the one whose last turn is longest ago first; or one member alone."""

    __slots__ = ("credit", "parts", "seats", "weight")

    def __init__(self, weight: float, credit: float) -> None:
        self.weight = weight  # of each
        self.credit = credit  # in turns
        self.seats: OrderedDict[str, _Seat] = OrderedDict()
        self.parts = 0.0  # the sum of its members'

    def append(self, seat: _Seat) -> None:
        """Let a member in, who is the last."""
        seat.line = self
        self.seats[seat.name] = seat
        self.parts += seat.part

    def moves(self, part: Callable[[str], float]) -> _Moves:
        """Who goes to the end of the line if it has the turn, with what each then has saved more than before.

        He who takes the turn is the last of them. If there are none, nobody is there.
        """
        moves: _Moves = []
        is_found = False
        for name, seat in self.seats.items():
            if is_found and seat.part:
                break
            own = part(name)
            if own != seat.part:
                self.parts += own - seat.part
                seat.part = own
            if own and not is_found:
                is_found = seat.saved + own >= 1 - _TIE
                moves.append((seat, own - 1 if is_found else own))
        return moves if is_found else _scaled(moves)


def _scaled(waiting: _Moves) -> _Moves:
    """The same where nobody has a whole turn: as much as anybody is to have is one."""
    moves: _Moves = []
    most = max((own for _, own in waiting), default=1.0)
    for seat, own in waiting:
        part = own / most
        is_found = seat.saved + part >= 1 - _TIE
        moves.append((seat, part - 1 if is_found else part))
        if is_found:
            break
    return moves


def _owed(lines: Sequence[_Line]) -> list[float]:
    """What each is owed with its share of this turn."""
    total = sum([line.weight * line.parts for line in lines])
    return [line.credit + line.weight * line.parts / total for line in lines]


def _richest(owed: Sequence[float], takers: Sequence[_Seat]) -> int:
    """The index of the one that is owed most; of equals, of whom would take the turn, the last turn longest ago."""
    chosen = 0
    for index, own in enumerate(owed):
        lead = own - owed[chosen]
        if lead > _TIE or (lead >= -_TIE and takers[index].last < takers[chosen].last):
            chosen = index
    return chosen


def _charge(lines: Sequence[_Line], owed: Sequence[float], chosen: _Line) -> None:
    """Give each its share of this turn, which this one takes."""
    for line, own in zip(lines, owed, strict=True):
        line.credit = own
    chosen.credit -= 1


class Rotation:
    """The lines of one pool, by names of members; lives over reloads."""

    __slots__ = ("_lines", "_newest", "_seats", "_turn")

    def __init__(self) -> None:
        self._lines: dict[float | str, _Line] = {}  # by weight, or by name for members that stand alone
        self._seats: dict[str, _Seat] = {}
        self._turn = 0
        self._newest = -(1 << 62)  # members not yet seen stand at the head of the line, in the order they came

    def seat(self, weights: Mapping[str, float]) -> None:
        """Let in these members, or give them another weight."""
        changed = False
        for name, weight in weights.items():
            seat = self._seats.get(name)
            if seat is None:
                self._newest += 1
                self._seats[name] = _Seat(name, weight, self._newest)
                changed = True
            elif seat.weight != weight:
                seat.weight = weight
                changed = True
        if changed:
            self._line_up()

    def keep(self, names: Iterable[str]) -> None:
        """Forget members that are no more."""
        gone = self._seats.keys() - set(names)
        if gone:
            self._seats = {name: seat for name, seat in self._seats.items() if name not in gone}
            self._line_up()

    def first(self, part: Callable[[str], float]) -> str | None:
        """Take a turn: the name of the member whose it is; None if nobody is there, and then nothing has changed.

        Args:
            part: How much of its weight a member is to have: 1, or less, or 0 if it is not there. It is asked of no
                more members than it takes to know.
        """
        found = [(line, moves) for line in self._lines.values() if (moves := line.moves(part))]
        if not found:
            return None
        moves = found[0][1]
        if len(found) > 1:
            lines = [line for line, _ in found]
            owed = _owed(lines)
            chosen = _richest(owed, [each[-1][0] for _, each in found])
            _charge(lines, owed, lines[chosen])
            moves = found[chosen][1]
        for seat, saved in moves:
            seat.saved += saved
            self._pass(seat)
        return moves[-1][0].name

    def next(self, is_well: Callable[[str], bool]) -> str | None:
        """Whose turn it is if he is there and is to have a whole one; None if only `first` can tell.

        Args:
            is_well: Whether a member is there, for a whole turn; asked where it matters who else is.
        """
        lines = [*self._lines.values()]
        heads = [next(iter(line.seats.values())) for line in lines]
        if len(heads) > 1:
            if not all(line.parts > len(line.seats) - _TIE for line in lines):  # some are to be looked at every time
                return None
            if not all(is_well(head.name) for head in heads):
                return None
            return heads[_richest(_owed(lines), heads)].name
        return heads[0].name if heads else None

    def take(self, name: str) -> None:
        """The member that `next` gives takes its turn."""
        seat = self._seats[name]
        if len(self._lines) > 1:
            lines = [*self._lines.values()]
            _charge(lines, _owed(lines), seat.line)
        self._pass(seat)

    def oldest(self, names: Sequence[str]) -> int:
        """Take a turn among equals who are all there: the index of the member whose it is."""
        seats = [self._seats[name] for name in names]
        picked = min(range(len(seats)), key=lambda index: seats[index].last)
        self._pass(seats[picked])
        return picked

    def order(self) -> Iterator[str]:
        """The names of all, of equal weight, the one whose last turn is longest ago first."""
        for line in self._lines.values():
            yield from line.seats

    def _pass(self, seat: _Seat) -> None:
        """To the end of the line."""
        self._turn += 1
        seat.last = self._turn
        seat.line.seats.move_to_end(seat.name)

    def _line_up(self) -> None:
        """Everybody to the line of his weight, which keeps what it is owed."""
        before, self._lines = self._lines, {}
        seats = [seat for seat in self._seats.values() if seat.weight]  # those of 0 drain, and take no turns
        alone = len(seats) <= _FEW and len({seat.weight for seat in seats}) > 1
        for seat in sorted(seats, key=lambda seat: seat.last):
            key = seat.name if alone else seat.weight
            line = self._lines.get(key)
            if line is None:
                credit = before[key].credit if key in before else 0.0
                line = self._lines[key] = _Line(seat.weight, credit)
            line.append(seat)
