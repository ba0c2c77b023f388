"""Late interaction: MaxSim against MultiVectorEncoder of Sentence Transformers, on given token vectors.

    python benchmarks/late.py                             # both tasks, five rounds
    python benchmarks/late.py --only loss --sweep         # which mini-batch size is ST's best

similarity: 200 queries of 32 tokens against 2,000 documents of 30 to 300, 128 dimensions, unit length:
`Encoder.similarity` against `MultiVectorEncoder.similarity`, each on what its own `encode` returns (padded vectors with
a mask; a list of one tensor per text). ST is also given its documents sorted by length, which its blocks like best.

loss: 64 rows of query, positive and negative, in-batch contrastive at temperature 1; the loss and its gradient at every
vector. ST's side is what `CachedMultiVectorMultipleNegativesRankingLoss` does between its two passes through the model:
`calculate_loss` with backward on the cached token vectors, in its mini-batches (32 as it comes, and the fastest).

Both sides start from the same numbers; what they find is compared when the clock has stopped.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from contest import Contestant, Goal, Work, contest, goals, sweep
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

DIM, QUERY_TOKENS, DOCUMENT_TOKENS = 128, 32, (30, 300)
# ST's fastest mini-batch size of the loss, as found by --sweep.
BEST = 8
SWEPT = (4, 8, 16, 32, 64)
ST, SORTED, OURS = "ST", "ST, sorted by length", "Sightline"
SAME = 1e-4  # of a score, which is a sum over 32 tokens; losses and gradients: of their norm


def tokens(lengths: Sequence[int], seed: int) -> list[Tensor]:
    """Token vectors (T, DIM) of unit length per item."""
    generator = torch.Generator().manual_seed(seed)
    return [normalize(torch.randn(length, DIM, generator=generator), dim=-1) for length in lengths]


def drawn(number: int, seed: int) -> list[int]:
    """Lengths of documents."""
    generator = torch.Generator().manual_seed(seed)
    low, high = DOCUMENT_TOKENS
    return torch.randint(low, high + 1, (number,), generator=generator).tolist()


def padded(items: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Values (N, T, DIM) with zeros behind, and the mask (N, T)."""
    lengths = torch.tensor([len(item) for item in items])
    values = pad_sequence(list(items), batch_first=True)
    return values, torch.arange(values.shape[1]) < lengths[:, None]


# Similarity


def our_similarity(queries: int, documents: int, kept: str) -> Work:
    from sightline.models.similarity import similarity
    from sightline.types import Embeddings

    asked = Embeddings(*padded(tokens([QUERY_TOKENS] * queries, 0)))
    found = Embeddings(*padded(tokens(drawn(documents, 1), 2)))
    return lambda: {"mean score": keep(similarity("maxsim", asked, found), kept)}


def their_similarity(queries: int, documents: int, kept: str, *, by_length: bool) -> Work:
    from sentence_transformers.util import maxsim  # what MultiVectorEncoder.similarity calls

    asked, found = tokens([QUERY_TOKENS] * queries, 0), tokens(drawn(documents, 1), 2)
    order = sorted(range(documents), key=lambda place: len(found[place])) if by_length else range(documents)
    found = [found[place] for place in order]
    back = torch.tensor(order).argsort()
    return lambda: {"mean score": keep(maxsim(asked, found)[:, back], kept)}


# The loss


def our_loss(rows: int, kept: str) -> Work:
    from sightline.losses.contrastive import InfoNCE
    from sightline.types import Batch, Embeddings

    # An item's number: its row, and query, positive or negative.
    values, mask = padded([item for row in zip(*columns(rows), strict=True) for item in row])
    values.requires_grad_()
    batch = Batch(
        micro_batches=[],
        keys_N=torch.arange(len(values)),
        columns_BC=torch.arange(len(values)).view(rows, 3),
        roles=("query", "document", "document"),
    )
    loss = InfoNCE(temperature=1.0, similarity="maxsim")

    def gradient() -> Tensor:
        assert values.grad is not None
        return values.grad

    def work() -> dict[str, Any]:
        values.grad = None
        (value,) = loss(Embeddings(values, mask), batch).values()
        value.backward()
        return {"loss": value.item(), "gradient norm": lambda: keep(gradient(), kept, norm=True)}

    return work


def their_loss(rows: int, kept: str, *, mini_batch_size: int) -> Work:
    from sentence_transformers.multi_vector_encoder import losses

    model: Any = torch.nn.Identity()  # it is not asked: the token vectors are given
    loss = losses.CachedMultiVectorMultipleNegativesRankingLoss(model, mini_batch_size=mini_batch_size)
    leaves, masks = [], []
    for column in columns(rows):
        pieces = [
            padded(column[begin : begin + mini_batch_size]) for begin in range(0, rows, mini_batch_size)
        ]
        leaves.append([values.requires_grad_() for values, _ in pieces])
        masks.append([mask for _, mask in pieces])

    def gradient() -> Tensor:
        widest = max(leaf.shape[1] for column in leaves for leaf in column)
        whole = [
            torch.cat(
                [torch.nn.functional.pad(leaf.grad, (0, 0, 0, widest - leaf.shape[1])) for leaf in column]
            )
            for column in leaves
        ]
        return torch.stack(whole, 1).flatten(0, 1)

    def work() -> dict[str, Any]:
        for column in leaves:
            for leaf in column:
                leaf.grad = None
        value = loss.calculate_loss(leaves, masks, with_backward=True)
        return {"loss": value.item(), "gradient norm": lambda: keep(gradient(), kept, norm=True)}

    return work


def columns(rows: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Queries, positives and negatives."""
    return tokens([QUERY_TOKENS] * rows, 3), tokens(drawn(rows, 4), 5), tokens(drawn(rows, 6), 7)


def keep(values: Tensor, kept: str, *, norm: bool = False) -> float:
    torch.save(values, kept)
    return float(values.norm() if norm else values.mean())


def compare(files: dict[str, str], *, relative: bool) -> None:
    """Ends the run where a side's numbers differ from the first one's.

    Args:
        files: by side.
        relative: the norm of the difference counts, as a share of the norm; else the largest difference.
    """
    first, *others = files
    wanted = torch.load(files[first])
    for other in others:
        found = torch.load(files[other])
        apart = found - wanted
        difference = float(apart.norm() / wanted.norm() if relative else apart.abs().max())
        print(f"{other} against {first}: {difference:.1e} apart (limit {SAME:g})")
        if difference > SAME:
            raise SystemExit(f"{other} does not find what {first} finds")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("similarity", "loss"))
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--documents", type=int, default=2_000)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmups", type=int, default=1)
    parser.add_argument("--sweep", action="store_true")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, str] = {}

        def side(name: str, setup: Callable[..., Work], **arguments: Any) -> Contestant:
            files[name] = str(Path(folder) / f"{len(files)}.pt")
            return Contestant(name, setup, arguments | {"kept": files[name]})

        if options.only != "loss":
            shape = {"queries": options.queries, "documents": options.documents}
            sides = [
                side(ST, their_similarity, **shape, by_length=False),
                side(SORTED, their_similarity, **shape, by_length=True),
                side(OURS, our_similarity, **shape),
            ]
            outcomes = contest("late_similarity", sides, rounds=options.rounds, warmups=options.warmups)
            goals(outcomes, [Goal(OURS, name, 1.0, memory=1.0) for name in (ST, SORTED)])
            compare(files, relative=False)
            files.clear()
        if options.only != "similarity":
            sizes = SWEPT if options.sweep else (32, BEST)
            own = side(OURS, our_loss, rows=options.rows)
            peers = [
                side(f"{ST}, mini-batches of {size}", their_loss, rows=options.rows, mini_batch_size=size)
                for size in sizes
            ]
            if options.sweep:
                sweep("late_loss_sweep", [*peers, own], rounds=options.rounds, warmups=options.warmups)
            else:
                outcomes = contest("late_loss", [*peers, own], rounds=options.rounds, warmups=options.warmups)
                goals(outcomes, [Goal(OURS, one.name, 1.0, memory=1.0) for one in peers])
            compare(files, relative=True)


if __name__ == "__main__":
    main()
