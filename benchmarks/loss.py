"""The loss and its gradient alone: InfoNCE at scale 20 under Matryoshka with seven dims, on given embeddings.

    python benchmarks/loss.py                             # batch 16,384, dim 1,024, against ST's best setting
    python benchmarks/loss.py --batch 4096 --peers 32 best   # also against ST's default mini-batches of 32
    python benchmarks/loss.py --sweep --batch 4096        # which mini-batch size is ST's best
    python benchmarks/loss.py --large                     # batch 65,536, ours alone: time and peak memory

ST's side is what `CachedMultipleNegativesRankingLoss` inside `MatryoshkaLoss` does between its two passes through the
model: `calculate_loss` with backward on the cached embeddings, in its mini-batches. Ours is the loss and its backward
pass, as the step runs them. Both start from the same vectors, one leaf tensor per column and mini-batch there, one
of all items in the order of the rows here; the clock covers the loss and the gradient at every vector. When the clock
has stopped, loss and gradients are compared.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from contest import Contestant, Goal, Work, contest, goals, sweep
from torch import Tensor

DIMS = (1024, 768, 512, 384, 256, 128, 64)
# ST's fastest mini-batch size, as found by --sweep.
BEST = 1024
SWEPT = (32, 128, 256, 512, 1024, 2048, 4096)
OURS = "Sightline"


def vectors(batch: int, columns: int, dim: int) -> Tensor:
    """(batch, columns, dim): anchors, positives near them, and hard negatives less near; of differing lengths."""
    generator = torch.Generator().manual_seed(0)
    anchors = torch.randn(batch, 1, dim, generator=generator)
    others = torch.randn(batch, columns - 1, dim, generator=generator)
    near = torch.tensor([1.0, *[0.4] * (columns - 2)])[:, None]
    lengths = torch.rand(batch, columns, 1, generator=generator) + 0.5
    return torch.cat([anchors, near * anchors + 2 * others], 1) * lengths


def ours(batch: int, columns: int, dim: int, folder: str, name: str) -> Work:
    from sightline.losses.compose import Matryoshka
    from sightline.losses.contrastive import InfoNCE
    from sightline.types import Batch, Embeddings

    values = vectors(batch, columns, dim).flatten(0, 1).requires_grad_()
    plan = Batch(
        micro_batches=[],
        keys_N=torch.arange(len(values)),
        columns_BC=torch.arange(len(values)).view(batch, columns),
        roles=("query", *["document"] * (columns - 1)),
    )
    loss = Matryoshka(InfoNCE(temperature=0.05), dims(dim))

    def work() -> dict[str, Any]:
        values.grad = None
        total = torch.stack(list(loss(Embeddings(values), plan).values())).sum()
        total.backward()
        return {"loss": total.item(), "gradient norm": lambda: kept(values.grad, folder, name)}

    return work


def theirs(batch: int, columns: int, dim: int, mini_batch_size: int, folder: str, name: str) -> Work:
    from sentence_transformers import losses

    class Given(torch.nn.Module):
        """Stands where the losses ask for a model; the embeddings are given."""

        def __getitem__(self, number: int) -> torch.nn.Module:
            return torch.nn.Identity()

        def get_embedding_dimension(self) -> int:
            return dim

    model: Any = Given()
    cached = losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=mini_batch_size)
    losses.MatryoshkaLoss(model, cached, list(dims(dim)))
    values = vectors(batch, columns, dim)
    leaves = [
        [piece.clone().requires_grad_() for piece in values[:, column].split(mini_batch_size)]
        for column in range(columns)
    ]
    del values

    def gradient() -> Tensor:
        return torch.stack([torch.cat([leaf.grad for leaf in column]) for column in leaves], 1).flatten(0, 1)

    def work() -> dict[str, Any]:
        for column in leaves:
            for leaf in column:
                leaf.grad = None
        total = cached.calculate_loss(leaves, None, with_backward=True)
        return {"loss": total.item(), "gradient norm": lambda: kept(gradient(), folder, name)}

    return work


def dims(dim: int) -> tuple[int, ...]:
    return tuple(one for one in DIMS if one <= dim)


def kept(gradient: Tensor | None, folder: str, name: str) -> float:
    assert gradient is not None
    torch.save(gradient, Path(folder) / f"{name}.pt")
    return float(gradient.norm())


def check(outcomes: list[Any], folder: str) -> None:
    """Ends the run if any side's loss or gradient differs from the first one's.

    Raises:
        AssertionError: losses apart by 1e-5 of the value, gradients by 1e-4 of their norm.
    """
    first, *others = outcomes
    expected = torch.load(Path(folder) / f"{first.name}.pt")
    for other in others:
        loss = abs(other.facts["loss"] / first.facts["loss"] - 1)
        found = torch.load(Path(folder) / f"{other.name}.pt")
        gradient = float((found - expected).norm() / expected.norm())
        print(f"{other.name} against {first.name}: loss {loss:.1e}, gradient {gradient:.1e} apart")
        assert loss < 1e-5, f"{other.name}: its loss differs from that of {first.name}"
        assert gradient < 1e-4, f"{other.name}: its gradient differs from that of {first.name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16_384)
    parser.add_argument("--columns", type=int, default=2, help="anchor, positive, hard negatives")
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmups", type=int, default=1)
    parser.add_argument("--peers", nargs="+", choices=["32", "best"], default=["best"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--large", action="store_true")
    chosen = parser.parse_args()
    batch = 65_536 if chosen.large else chosen.batch
    shape = {"batch": batch, "columns": chosen.columns, "dim": chosen.dim}

    with tempfile.TemporaryDirectory() as folder:

        def side(name: str, setup: Callable[..., Work], **arguments: Any) -> Contestant:
            more = {"folder": folder, "name": name} | arguments
            return Contestant(name, setup, shape | more, threads=chosen.threads)

        def peer(size: int) -> Contestant:
            return side(f"ST, mini-batches of {size}", theirs, mini_batch_size=size)

        own = side(OURS, ours)
        if chosen.large:
            sweep("loss_large", [own])
        elif chosen.sweep:
            sweep(f"loss_sweep_{batch}", [*[peer(size) for size in SWEPT if size <= batch], own])
        else:
            peers = [peer(BEST if one == "best" else 32) for one in chosen.peers]
            outcomes = contest(
                f"loss_{batch}", [*peers, own], rounds=chosen.rounds, warmups=chosen.warmups, follow_on=True
            )
            goals(outcomes, [Goal(OURS, one.name, 6.0, memory=0.5) for one in peers])
            check(outcomes, folder)


if __name__ == "__main__":
    main()
