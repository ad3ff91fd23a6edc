"""Parts are united in their order, whoever has them."""

import pytest

from onepass.distributed.plan import tree


@pytest.mark.parametrize(
    ("n", "united"),
    [(1, "a"), (2, "(ab)"), (3, "((ab)c)"), (4, "((ab)(cd))"), (5, "(((ab)(cd))e)")],
)
def test_neighbours_are_united_round_by_round(n, united):
    assert tree("abcde"[:n], lambda one, other: f"({one}{other})") == united


def test_every_part_is_united_once_and_goes_through_few_unions():
    def unite(one, other):
        return one[0] + other[0], 1 + max(one[1], other[1])

    parts, depth = tree([([i], 0) for i in range(1000)], unite)
    assert (parts, depth) == (list(range(1000)), 10)
