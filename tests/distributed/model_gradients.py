"""Run as several ranks: gradients of real models, with adapters and of late interaction, against one process's.

Arguments: the folder with the checkpoints ``bert`` and ``scores``, and how the weights lie, in turn: ``replicated``,
``sharded``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from gradients import compare
from torch import Tensor
from torch.distributed.fsdp import fully_shard

from sightline.losses.base import Loss
from sightline.losses.compose import Sum
from sightline.losses.contrastive import InfoNCE
from sightline.losses.distillation import EmbeddingDistillation
from sightline.losses.lambda_loss import Lambda
from sightline.losses.needs import projection_of
from sightline.losses.pointwise import BinaryCrossEntropy
from sightline.models.adapters import LoRA
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.training.batches import BatchBuilder
from sightline.training.distributed import Ranks, share
from sightline.training.limits import Limits
from sightline.training.pairing import pair_reader
from sightline.training.rows import choose_columns
from sightline.training.step import Step
from sightline.training.weights import Replicated
from sightline.types import Batch
from support.adapted import stir
from support.reranker_rows import lists, triplets

TRIPLETS = triplets(9, seed=4, negatives=2)
TEACHER = 20


@dataclass(frozen=True)
class Case:
    """A model with its loss and rows.

    Attributes:
        make: the model out of the folder of checkpoints, with weights of its own on every rank.
        batches: rows of the batches that are accumulated.
    """

    name: str
    make: Callable[[Path], Any]
    loss: Loss
    batches: Sequence[Sequence[dict[str, Any]]]


def adapted(model: Any) -> Any:
    model.add_adapter(LoRA(r=4))
    stir(model, seed=dist.get_rank())
    return model


def encoder(folder: Path, **options: Any) -> Any:
    return Encoder.from_pretrained(folder / "bert", device="cpu", **options)


def projecting(folder: Path) -> Any:
    model = encoder(folder)
    model.give_projection(model.embedding_dim, TEACHER)
    return model


def taught(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with a teacher's vector each."""
    vectors = torch.randn(len(rows), TEACHER, generator=torch.Generator().manual_seed(5))
    return [row | {"label": vector.tolist()} for row, vector in zip(rows, vectors, strict=True)]


def reranker(folder: Path) -> Any:
    return Reranker.from_pretrained(folder / "scores", device="cpu")


CASES = (
    Case(
        "adapter",
        lambda folder: adapted(encoder(folder)),
        InfoNCE(symmetric=True),
        [TRIPLETS[:5], TRIPLETS[5:]],
    ),
    Case(
        "late interaction",
        lambda folder: encoder(folder, multi_vector=True),
        InfoNCE(temperature=1.0, symmetric=True, similarity="maxsim"),
        [TRIPLETS[:5], TRIPLETS[5:6]],  # one rank has no row of the second batch
    ),
    Case(
        "late interaction with an adapter",
        lambda folder: adapted(encoder(folder, multi_vector=True)),
        InfoNCE(temperature=1.0, similarity="meanmaxsim"),
        [TRIPLETS],
    ),
    Case(
        "a projection into a teacher's space",
        projecting,
        Sum([EmbeddingDistillation("mse", projection=TEACHER), InfoNCE()]),
        [taught(TRIPLETS[:5]), taught(TRIPLETS[5:6])],
    ),
    Case("reranker with an adapter", lambda folder: adapted(reranker(folder)), Lambda(), [lists(TRIPLETS)]),
    Case(
        "labelled pairs",
        lambda folder: adapted(reranker(folder)),
        BinaryCrossEntropy(2.0),
        [TRIPLETS[:5], TRIPLETS[5:6]],
    ),
)


def batch_of(model: Any, loss: Loss, rows: Sequence[dict[str, Any]], budget: int) -> Batch:
    if not rows:
        return Batch.empty()
    columns = choose_columns(tuple(rows[0]))
    pairs = isinstance(model, Reranker)
    builder = BatchBuilder(
        model.preprocessor, model.collate, columns, ("text",), Limits(budget),
        reader=pair_reader(columns, loss, modalities=("text",)) if pairs else None,
    )  # fmt: skip
    batch = builder(list(enumerate(rows)))["batch"]
    assert batch is not None
    batch.projected = projection_of(loss)
    return batch


def run(model: Any, case: Case, ranks: Ranks, *, kept: int | None, budget: int) -> dict[str, Tensor]:
    for number, rows in enumerate(case.batches):
        batch = batch_of(model, case.loss, rows[share(len(rows), ranks.rank, ranks.size)], budget)
        last = number == len(case.batches) - 1
        parts = Step(kept, ranks=ranks).run(model, batch, case.loss, scale=1 / len(case.batches), sync=last)
    return parts


def check(case: Case, kind: str, folder: Path, ranks: Ranks) -> None:
    torch.manual_seed(ranks.rank)
    model = case.make(folder)
    Replicated(model, ranks)  # every rank gets rank 0's weights
    alone = case.make(folder)
    alone.load_state_dict(model.state_dict())
    if kind == "sharded":
        fully_shard(model)
    # Each rank keeps another number of graphs.
    parts = run(model, case, ranks, kept=(None, 1, 0)[ranks.rank], budget=80)
    expected = run(alone, case, Ranks(0, 1), kept=None, budget=4000)
    torch.testing.assert_close(parts, expected, rtol=1e-5, atol=1e-6)
    compare(case.name, model, alone)


def main(folder: Path, kinds: Sequence[str]) -> None:
    dist.init_process_group("gloo")
    ranks = Ranks.of_process()
    for kind in kinds:
        for case in CASES:
            try:
                check(case, kind, folder, ranks)
            except Exception as error:
                error.add_note(f"{kind}: {case.name}")
                raise
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
