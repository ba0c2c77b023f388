"""Run as several ranks, with kinds of weights as arguments: the gradients against those of one process alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from lacking_memory import PLACES, ends_all, sharded, undone_on_all
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from towers import Scores, Tower, make_batch

from sightline.losses.base import Loss
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.training.distributed import Ranks, share
from sightline.training.step import Step
from sightline.training.weights import Replicated, load_whole_state_dict, whole_state_dict

LOSSES: list[tuple[str, Loss]] = [
    ("infonce", InfoNCE()),
    ("symmetric matryoshka", Matryoshka(InfoNCE(symmetric=True), (8, 4, 2))),
    ("not by rows", Scores()),
    ("matryoshka, not by rows", Matryoshka(Scores(), (8, 4))),
]
# By row: anchor, positive, negative. Contents repeat (same number below the hundreds), items too, on one rank and
# on several; images lie at the end, so that one rank alone runs the image tower; cells are empty.
ROWS = [
    (1, 2, 3),
    (4, 5, 2),
    (6, 2, 103),
    (7, 8, -1),
    (1, 9, 10),
    (104, 11, 5),
    (12, 1013, 1001),
    (13, 1013, 14),
]
BATCHES = {
    "even": [ROWS[:6], ROWS[2:]],
    "uneven": [ROWS[:7], ROWS[:5]],
    "a rank without rows": [ROWS[:1], ROWS[7:]],
    "no rows at all before some": [[], ROWS[:4]],
    "some before no rows at all": [ROWS[:4], []],
}


class Counted(Ranks):
    """Counts the reductions of gradients."""

    reductions = 0

    def add(self, tensors: Sequence[Tensor], what: str = "adding gradients") -> None:
        Counted.reductions += what == "adding gradients"
        super().add(tensors, what)


def whole(gradient: Tensor | None) -> Tensor | None:
    return gradient.full_tensor() if isinstance(gradient, DTensor) else gradient


def cases(
    ranks: Ranks, kind: str
) -> Iterator[tuple[str, Loss, list[list[tuple[int, ...]]], int | None, bool]]:
    for number, (name, batches) in enumerate(BATCHES.items()):
        # Sharding on three ranks differs from two by the shares alone, whatever the loss.
        for more, (loss_name, loss) in enumerate(
            LOSSES[:1] if kind == "sharded" and ranks.size > 2 else LOSSES
        ):
            # Each rank keeps another number of graphs.
            kept = (None, 0, 1, 2)[(number + more + ranks.rank) % 4]
            yield f"{name}, {loss_name}", loss, batches, kept, False
    for kept in (None, 0):
        yield f"multi-vector, kept {kept}", Scores(), [ROWS, ROWS[:1]], kept, True
        maxsim = InfoNCE(temperature=1.0, symmetric=True, similarity="maxsim")
        yield f"maxsim, kept {kept}", maxsim, [ROWS, ROWS[:1]], kept, True


def run(
    step: Step, model: nn.Module, batches: Sequence[Sequence[tuple[int, ...]]], loss: Loss, per_group: int
) -> dict[str, Tensor]:
    for number, rows in enumerate(batches):
        own = rows[share(len(rows), step.ranks.rank, step.ranks.size)]
        batch = make_batch(own, per_group=per_group)
        last = number == len(batches) - 1
        parts = step.run(model, batch, loss, scale=1 / len(batches), sync=last)
    return parts


def compare(name: str, model: nn.Module, alone: nn.Module) -> None:
    for (weight, got), expected in zip(model.named_parameters(), alone.parameters(), strict=True):
        what = f"{name}: {weight}"
        found = whole(got.grad)
        assert (found is None) == (expected.grad is None), what
        if found is not None:
            torch.testing.assert_close(
                found, expected.grad, rtol=1e-5, atol=1e-6, msg=lambda m, w=what: f"{w}: {m}"
            )


def main(*kinds: str) -> None:
    dist.init_process_group("gloo")
    torch.manual_seed(dist.get_rank())
    found = Ranks.of_process()
    ranks = Counted(found.rank, found.size, found.control)
    for kind in kinds:
        check(kind, ranks)
    dist.destroy_process_group()


def check(kind: str, ranks: Counted) -> None:
    for name, loss, batches, kept, multi_vector in cases(ranks, kind):
        model = Tower(multi_vector)
        Replicated(model, ranks)  # every rank gets rank 0's weights
        alone = Tower(multi_vector)
        alone.load_state_dict(model.state_dict())
        if kind == "sharded":
            sharded(model)
        Counted.reductions = 0
        try:
            parts = run(Step(kept, ranks=ranks), model, batches, loss, per_group=3)
            expected = run(Step(), alone, batches, loss, per_group=100)
            torch.testing.assert_close(parts, expected, rtol=1e-5, atol=1e-6)
            compare(name, model, alone)
            assert Counted.reductions == (kind == "replicated"), name
        except Exception as error:
            error.add_note(f"{kind}: {name}")
            raise
    if kind == "sharded":
        saves_and_loads(ranks, model, alone)
    survives_out_of_memory(ranks, kind)


def survives_out_of_memory(ranks: Ranks, kind: str) -> None:
    for place in PLACES:
        model, alone = undone_on_all(ranks, kind, place, BATCHES["even"])
        compare(f"{kind}: out of memory when {place}", model, alone)
    ends_all(ranks, kind, ROWS)


def saves_and_loads(ranks: Ranks, model: nn.Module, alone: nn.Module) -> None:
    saved = whole_state_dict(model)
    assert bool(saved) == ranks.is_main
    everywhere = ranks.exchange(saved)[0]
    torch.testing.assert_close(everywhere, dict(alone.state_dict()), rtol=0, atol=0)
    load_whole_state_dict(model, {name: value + 1 for name, value in everywhere.items()})
    again = ranks.exchange(whole_state_dict(model))[0]
    torch.testing.assert_close(again["out.weight"], alone.out.weight.detach() + 1, rtol=0, atol=0)


if __name__ == "__main__":
    main(*sys.argv[1:])
