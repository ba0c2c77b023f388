"""Which items share a micro-batch: items of like cost together, under a budget.

The budget counts the positions that a forward pass pays for: padded ones, or the real ones where a model takes
texts without padding.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np

from sightline.errors import ConfigError
from sightline.types import Cost

# Positions that one more forward and backward pass is worth. Lower means less padding in more passes.
PASS_COST = 32


def plan(
    costs: Sequence[Cost],
    groups: Sequence[str],
    *,
    token_budget: int | None,
    max_items: int | None = None,
    packed: Container[str] = (),
) -> list[list[int]]:
    """Divides items among micro-batches.

    Items of different groups are never mixed. Within a group they are sorted by tokens, then patches, longest
    first, and cut into runs such that padded positions (``rows x longest row``), and `PASS_COST` for each run,
    add up to the least. An item dearer than the budget stands alone. Texts of a packed group have no padding
    and fill each micro-batch up to the budget.

    Args:
        costs: cost per item.
        groups: group per item.
        token_budget: positions per micro-batch, patches counting a quarter; None for no limit, which puts a
            group into one micro-batch.
        max_items: rows per micro-batch; None for no limit.
        packed: groups whose texts run without padding.

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
    kinds: dict[tuple[str, bool], list[int]] = {}
    for index, (cost, group) in enumerate(zip(costs, groups, strict=True)):
        kinds.setdefault((group, cost.patches == 0 and group in packed), []).append(index)
    micro_batches: list[list[int]] = []
    for (_, unpadded), members in sorted(kinds.items()):
        members.sort(key=lambda i: (-costs[i].tokens, -costs[i].patches, i))
        tokens = [costs[i].tokens for i in members]
        if unpadded:
            stops = _filled(tokens, token_budget, max_items)
        else:
            stops = _least_padding(tokens, [costs[i].patches for i in members], token_budget, max_items)
        start = 0
        for stop in stops:
            micro_batches.append(members[start:stop])
            start = stop
    return micro_batches


def _filled(tokens: Sequence[int], budget: int | None, max_items: int | None) -> list[int]:
    """Ends of runs whose tokens add up to the budget at most."""
    stops: list[int] = []
    start = used = 0
    for number, count in enumerate(tokens):
        over = budget is not None and used + count > budget
        if number > start and (over or number - start == max_items):
            stops.append(number)
            start, used = number, 0
        used += count
    return [*stops, len(tokens)]


def _least_padding(
    tokens: Sequence[int], patches: Sequence[int], budget: int | None, max_items: int | None
) -> list[int]:
    """Ends of the runs with the least padding, found from the last item backwards.

    ``least[i]`` is what items i and later cost at best: the least over ends j of
    ``(j - i) * tokens[i] + PASS_COST + least[j]``; patches are paid once wherever the cuts are.
    """
    number = len(tokens)
    if budget is None and max_items is None:
        return [number]
    patches_before = np.concatenate([[0], np.cumsum(patches)])
    rows = np.arange(number + 1)
    least = np.zeros(number + 1)
    best_end = np.zeros(number, dtype=np.int64)
    for start in range(number - 1, -1, -1):
        end = number if max_items is None else min(number, start + max_items)
        counts = rows[1 : end - start + 1]
        paid = counts * tokens[start]
        if budget is not None:
            used = paid + (patches_before[start + 1 : end + 1] - patches_before[start]) // 4
            # Both terms grow with the run, so what fits is a prefix; one item is always taken.
            counts = counts[: max(1, int(np.searchsorted(used, budget, side="right")))]
            total = paid[: len(counts)] + least[start + counts]
            chosen = 1 + int(np.argmin(total))
            least[start] = total[chosen - 1] + PASS_COST
        else:
            # No budget means passes as large as the number of rows allows.
            chosen = len(counts)
        best_end[start] = start + chosen
    stops: list[int] = []
    while not stops or stops[-1] < number:
        stops.append(int(best_end[stops[-1] if stops else 0]))
    return stops
