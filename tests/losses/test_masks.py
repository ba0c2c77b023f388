"""Who may be compared with whom."""

from __future__ import annotations

import torch

from sightline.losses.masks import allowed_candidates, distinct, positions


def test_distinct_leaves_out_absent_cells_and_repeats() -> None:
    assert distinct(torch.tensor([[5, -1], [2, 5], [-1, 9]])).tolist() == [2, 5, 9]
    assert positions(torch.tensor([9, 2, 9]), torch.tensor([2, 5, 9])).tolist() == [2, 0, 2]


def test_allowed_candidates_by_content() -> None:
    # Items: 0, 1 anchors of equal content; 2 another anchor; 3, 4, 5 documents; 6 repeats 3; 7 repeats 2.
    keys = torch.tensor([100, 100, 101, 200, 201, 202, 200, 101])
    query, target = torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5])
    allowed = allowed_candidates(query, target, torch.tensor([3, 4, 5, 6, 7]), keys)
    assert allowed.tolist() == [
        [True, False, True, False, True],  # 4 answers the same anchor; 6 is the positive again
        [False, True, True, False, True],  # its own positive only by the target rule
        [True, True, True, True, False],  # 7 is the anchor's own content
    ]


def test_a_target_is_always_allowed() -> None:
    keys = torch.tensor([1, 1])
    assert allowed_candidates(torch.tensor([0]), torch.tensor([1]), torch.tensor([1]), keys).tolist() == [
        [True]
    ]
