"""Which items share a micro-batch: items of like cost together, under a budget.

The budget counts *padded* positions, because that is what a forward pass pays for.
"""

from __future__ import annotations

from collections.abc import Sequence

from sightline.errors import ConfigError
from sightline.types import Cost


def plan(
    costs: Sequence[Cost],
    groups: Sequence[str],
    *,
    token_budget: int | None,
    max_items: int | None = None,
) -> list[list[int]]:
    """Packs items into micro-batches.

    Items of different groups are never mixed. Within a group they are sorted by tokens, then patches,
    longest first, and packed greedily: a micro-batch is closed when one more item would take
    ``rows x longest row + patches / 4`` over the budget. An item dearer than the budget stands alone.

    Args:
        costs: cost per item.
        groups: group per item.
        token_budget: padded positions per micro-batch; None for no limit.
        max_items: rows per micro-batch; None for no limit.

    Returns:
        Lists of item indices, every index once, the dearest micro-batch of each group first (so that a
        memory limit shows at once).

    Raises:
        ConfigError: a budget below 1.
    """
    if (token_budget is not None and token_budget < 1) or (max_items is not None and max_items < 1):
        raise ConfigError(
            f"token_budget and max_items must be at least 1, not {token_budget} and {max_items}"
        )
    order = sorted(range(len(costs)), key=lambda i: (groups[i], -costs[i].tokens, -costs[i].patches, i))
    micro_batches: list[list[int]] = []
    longest = patches = 0
    for index in order:
        cost = costs[index]
        current = micro_batches[-1] if micro_batches else []
        if current and groups[current[0]] == groups[index]:
            # Sorted longest first, so the first row's length is every row's padded length.
            padded = (len(current) + 1) * max(longest, cost.tokens) + (patches + cost.patches) // 4
            fits = token_budget is None or padded <= token_budget
            if fits and (max_items is None or len(current) < max_items):
                current.append(index)
                patches += cost.patches
                continue
        micro_batches.append([index])
        longest, patches = cost.tokens, cost.patches
    return micro_batches
