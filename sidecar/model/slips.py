"""How far two names are apart, so that a mistyped one can be told which was meant."""

from __future__ import annotations

__all__ = ["slips"]


def slips(left: str, right: str, limit: int) -> int:
    """Insertions, deletions, replacements and swaps of neighbours between two names.

    A swap is one slip, because that is how names are mistyped. Names that differ in length by more than `limit` are
    not compared: `limit` + 1 stands for them.
    """
    if abs(len(left) - len(right)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        last, before, row = before, row, [i]
        for j, b in enumerate(right, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and b == left[i - 2]:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
