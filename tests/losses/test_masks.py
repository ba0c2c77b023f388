"""Who may be compared with whom."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from sightline.losses.masks import distinct, exclusions, positions


def excluded_pairs(
    query: Tensor, target: Tensor, candidate: Tensor, keys: Tensor, rows: slice = slice(None)
) -> set[tuple[int, int]]:
    found = exclusions(query, target, candidate, keys, rows)
    pairs = found.of_rows(0, len(query[rows]))
    return set() if pairs is None else set(zip(*(side.tolist() for side in pairs), strict=True))


def naive(query: list[int], target: list[int], candidate: list[int], keys: list[int]) -> set[tuple[int, int]]:
    pairs = set()
    for row, (q, t) in enumerate(zip(query, target, strict=True)):
        answers = {keys[q]} | {keys[u] for p, u in zip(query, target, strict=True) if keys[p] == keys[q]}
        pairs |= {(row, place) for place, c in enumerate(candidate) if c != t and keys[c] in answers}
    return pairs


def test_distinct_leaves_out_absent_cells_and_repeats() -> None:
    assert distinct(torch.tensor([[5, -1], [2, 5], [-1, 9]])).tolist() == [2, 5, 9]
    assert positions(torch.tensor([9, 2, 9]), torch.tensor([2, 5, 9])).tolist() == [2, 0, 2]


def test_exclusions_by_content() -> None:
    # Items: 0, 1 anchors of equal content; 2 another anchor; 3, 4, 5 documents; 6 repeats 3; 7 repeats 2.
    keys = torch.tensor([100, 100, 101, 200, 201, 202, 200, 101])
    query, target = torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5])
    assert excluded_pairs(query, target, torch.tensor([3, 4, 5, 6, 7]), keys) == {
        (0, 1),  # 4 answers the same anchor
        (0, 3),  # 6 is the positive again
        (1, 0),
        (1, 3),
        (2, 4),  # 7 is the anchor's own content
    }


def test_a_target_is_never_excluded() -> None:
    keys = torch.tensor([1, 1])
    assert not excluded_pairs(torch.tensor([0]), torch.tensor([1]), torch.tensor([1]), keys)


def test_equal_to_the_definition_on_random_batches_in_pieces() -> None:
    generator = random.Random(0)
    for _ in range(60):
        count = generator.randint(2, 30)
        keys = [generator.randint(0, generator.choice([3, 40])) * 7 for _ in range(count)]
        rows = generator.randint(1, 25)
        query = [generator.randrange(count) for _ in range(rows)]
        target = [generator.randrange(count) for _ in range(rows)]
        candidate = sorted(set(target) | {generator.randrange(count) for _ in range(10)})
        expected = naive(query, target, candidate, keys)
        tensors = [torch.tensor(values) for values in (query, target, candidate, keys)]
        assert excluded_pairs(*tensors) == expected
        begin, end = sorted(generator.choices(range(rows + 1), k=2))
        some = {(row - begin, place) for row, place in expected if begin <= row < end}
        assert excluded_pairs(*tensors, rows=slice(begin, end)) == some
        pairs = exclusions(*tensors).of_rows(begin, end)
        assert (set() if pairs is None else set(zip(*(p.tolist() for p in pairs), strict=True))) == some


def test_many_equal_contents_need_no_square() -> None:
    """Every row has the one query: each of 20,000 targets answers it, and pairs are looked up row by row."""
    count = 20_000
    items = torch.arange(count) + 1
    found = exclusions(torch.zeros(count, dtype=torch.long), items, items, torch.arange(count + 1))
    pairs = found.of_rows(7, 8)
    assert pairs is not None
    assert pairs[0].unique().tolist() == [0]
    assert pairs[1].tolist() == [place for place in range(count) if place != 7]
    assert all(value.numel() <= 2 * count for value in vars(found).values() if isinstance(value, Tensor))
