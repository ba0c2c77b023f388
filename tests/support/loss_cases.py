"""Every loss with a small batch: what its definition, the ways of a step and several ranks are tested on.

Items repeat, in a row and on several ranks; contents do, too (equal numbers below the hundreds); cells are empty;
lists are of unequal length. What a row asks for is a function of the row, so that any rows make a batch.

Shape letters::

    N  distinct items     n  items of one micro-batch     B  rows     C  columns     D  embedding dimension
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sightline.losses.base import Loss
from sightline.losses.compose import Matryoshka, Sum
from sightline.losses.contrastive import InfoNCE
from sightline.losses.distillation import DistillKL, EmbeddingDistillation, MarginMSE
from sightline.losses.in_batch import InBatchRanking
from sightline.losses.joint import Direction, FalseNegatives
from sightline.losses.lambda_loss import Lambda, RankNet
from sightline.losses.layers import AdaptiveLayers
from sightline.losses.listwise import ADRMSE, ListMLE, ListNet, PListMLE
from sightline.losses.pair_scores import IN_BATCH, PAIR
from sightline.losses.pairwise import AnglE, Contrastive, CoSENT, CosineSimilarity, OnlineContrastive
from sightline.losses.pointwise import BinaryCrossEntropy, CrossEntropy, ScoreMSE
from sightline.losses.regularization import OrthogonalRegularization
from sightline.losses.triplets import BatchTriplet, Triplet
from sightline.training.gathering import as_asked
from sightline.training.step import wanted
from sightline.types import Batch, Cost, Embeddings, MicroBatch

WIDTH, HIDDEN, DIM, TEACHER, GUIDE, CLASSES = 6, 10, 8, 5, 4, 3

Row = tuple[int, ...]
Target = Callable[[Row], Any]

# Anchor, positive, negative.
TRIPLETS: tuple[Row, ...] = (
    (1, 2, 3), (4, 5, 2), (6, 2, 103), (7, 8, -1), (1, 9, 10), (11, -1, 5), (12, 13, 14), (6, 18, 9), (15, 16, 17),
)  # fmt: skip
# Pairs of one query.
LISTS: tuple[Row, ...] = (
    (1, 2),
    (3,),
    (4, 5, 6, 2),
    (7, 8, 9),
    (10, 11),
    (12, 13, 14),
    (15, 1),
    (16, 17, 18),
)
SINGLES: tuple[Row, ...] = tuple((number,) for number in (1, 2, 3, 4, 2, 5, 6, 7, 8))


def draws(seed: int, *shape: int) -> Tensor:
    """Normal numbers, the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _score(row: Row) -> float:
    return sum(row) % 7 / 7


def _binary(row: Row) -> float:
    return float(sum(row) % 2)


def _class(row: Row) -> float:
    return float(row[0] % CLASSES)


def _probabilities(row: Row) -> Tensor:
    return draws(row[0], CLASSES).softmax(0)


def _numbers(*shape: int) -> Target:
    return lambda row: draws(500 + sum(row), *shape)


def _grades(row: Row) -> Tensor:
    return torch.tensor([item % 3 / 2 for item in row])


@dataclass(frozen=True)
class LossCase:
    """A loss with what its batches hold.

    Attributes:
        name: of the test.
        loss: under test.
        target: of a row; None without.
        rows: of items; `LISTS` and `SINGLES` are pairs.
        outputs: scores per pair; 0 of a loss over vectors.
        own: how many of a row's pairs are of its own documents; 0 for all.
        guide: the batch has a guide's vectors.
        layers: earlier layers asked for.
        projected: dimension of the teacher's space asked for.
    """

    name: str
    loss: Loss
    target: Target | None = None
    rows: tuple[Row, ...] = TRIPLETS
    outputs: int = 0
    own: int = 0
    guide: bool = False
    layers: tuple[int, ...] = ()
    projected: int = 0

    def batch(
        self, rows: Sequence[Row], *, per_group: int = 100, dtype: torch.dtype = torch.float32
    ) -> Batch:
        """Some rows, their items in micro-batches of ``per_group``."""
        items = list(dict.fromkeys(item for row in rows for item in row if item >= 0))
        place = {item: number for number, item in enumerate(items)}
        width = max(map(len, rows))
        columns = [[place.get(item, -1) for item in row] + [-1] * (width - len(row)) for row in rows]
        roles, names = self._header(width)
        inputs = torch.stack([draws(item, WIDTH) for item in items]).to(dtype)
        return Batch(
            micro_batches=[
                MicroBatch({"x": part}, torch.arange(len(items))[begin : begin + per_group], Cost(len(part)))
                for begin, part in zip(
                    range(0, len(items), per_group), inputs.split(per_group), strict=True
                )
            ],
            keys_N=torch.tensor([item % 100 for item in items]),
            columns_BC=torch.tensor(columns),
            roles=roles,
            column_names=names,
            targets={} if self.target is None else {"label": _stacked([self.target(row) for row in rows])},
            rows=tuple(range(len(rows))),
            identities_N=torch.tensor(items),
            guide_NG=torch.stack([draws(900 + item % 100, GUIDE) for item in items]) if self.guide else None,
            layers=self.layers,
            projected=self.projected,
        )  # fmt: skip

    def _header(self, width: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if not self.outputs:
            return ("query", "document", "document"), ("anchor", "positive", "negative")
        own = self.own or width
        return (PAIR,) * width, ("document",) * own + (IN_BATCH,) * (width - own)

    def model(self, *, dropout: float = 0.0, dtype: torch.dtype = torch.float32) -> Model:
        """One with the weights that every call gives it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return Model(self.outputs, dropout).to(dtype)


def _stacked(values: Sequence[Any]) -> Tensor:
    """Targets of rows as one; lists are filled up with zeros."""
    tensors = [torch.as_tensor(value) for value in values]
    if tensors[0].ndim == 1:
        return nn.utils.rnn.pad_sequence(tensors, batch_first=True)
    return torch.stack(tensors)


class Model(nn.Module):
    """Vectors of items, those of earlier layers and in a teacher's space beside them; or scores of pairs."""

    def __init__(self, outputs: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.Tanh(), nn.Dropout(dropout))
        self.last = nn.Linear(HIDDEN, outputs or DIM)
        self.early = nn.Linear(HIDDEN, DIM)
        self.projection = nn.Linear(DIM, TEACHER)
        self.scores = bool(outputs)

    def forward(self, micro_batch: MicroBatch) -> Embeddings | Tensor:
        hidden = self.first(micro_batch.features["x"])
        values: Tensor = self.last(hidden)
        if self.scores:
            return values
        vectors = [values, *[self.early(hidden * (1 + layer)) for layer in micro_batch.layers]]
        return Embeddings(
            torch.cat([*vectors, self.projection(values)] if micro_batch.projected else vectors, 1)
        )


def plain(
    model: nn.Module, batches: Sequence[Batch], loss: Loss, *, scale: float = 1.0
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The last batch's parts, and the gradients of all: everything embedded with graph, one backward pass each."""
    parts: dict[str, Tensor] = {}
    for batch in batches:
        outputs = [model(micro_batch) for micro_batch in wanted(batch)]
        values = torch.cat([one if isinstance(one, Tensor) else one.values for one in outputs])
        parts = loss(as_asked(values, None, batch), batch)
        (torch.stack(list(parts.values())).sum() * scale).backward()
    return {name: part.detach() for name, part in parts.items()}, gradients(model)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """By name of the weight; of those that have one."""
    return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


def kinds(loss: Any) -> Iterator[str]:
    """The names of a loss and of the losses inside it."""
    if is_dataclass(loss):
        yield type(loss).__name__
        for field in fields(loss):
            inner = getattr(loss, field.name)
            for one in inner if isinstance(inner, tuple) else (inner,):
                yield from kinds(one)


_GIST: tuple[Direction, ...] = ("query_to_doc", "query_to_query", "positive_to_positive")
_BY_GUIDE = FalseNegatives(0.1, relative=True)
_BY_MODEL = FalseNegatives(0.1, by="model")


VECTORS = (
    LossCase("infonce", InfoNCE(0.2)),
    LossCase("infonce, dot, symmetric", InfoNCE(1.0, symmetric=True, similarity="dot")),
    LossCase("infonce, false negatives by a guide", InfoNCE(0.5, false_negatives=FalseNegatives(0.1)), guide=True),
    LossCase(
        "infonce, by a guide, directions", InfoNCE(0.5, directions=_GIST, false_negatives=_BY_GUIDE), guide=True
    ),
    LossCase("infonce, false negatives by the model", InfoNCE(0.5, false_negatives=_BY_MODEL)),
    LossCase("infonce, by the model, symmetric", InfoNCE(0.5, symmetric=True, false_negatives=_BY_MODEL)),
    *(
        LossCase(f"infonce, hardness of {mode}", InfoNCE(0.5, hardness=mode, hardness_strength=3.0))
        for mode in ("in_batch_negatives", "hard_negatives", "all_negatives")
    ),
    LossCase("cosine similarity", CosineSimilarity(), _score),
    LossCase("contrastive", Contrastive(), _binary),
    LossCase("contrastive, euclidean", Contrastive(2.0, "euclidean"), _score),
    LossCase("contrastive, manhattan", Contrastive(5.0, "manhattan"), _binary),
    LossCase("online contrastive", OnlineContrastive(1.2), _binary),
    LossCase("online contrastive, one label", OnlineContrastive(1.2), lambda row: 0.0),
    LossCase("cosent", CoSENT(0.2), _score),
    LossCase("angle", AnglE(0.2), _score),
    LossCase("triplet", Triplet()),
    LossCase("triplet, cosine", Triplet(0.2, "cosine")),
    LossCase("triplet, manhattan", Triplet(1.0, "manhattan")),
    *(
        LossCase(f"batch {mining}, {distance}", BatchTriplet(mining, margin, distance), _class)
        for mining in ("hard", "semi-hard", "all")
        for distance, margin in (("euclidean", 1.0), ("cosine", 0.3), ("manhattan", 2.0))
    ),
    LossCase("batch hard, without a margin", BatchTriplet("hard", None), _class),
    LossCase("margin mse, margins", MarginMSE(), _numbers()),
    LossCase("margin mse, scores, cosine", MarginMSE("cosine"), _numbers(2)),
    LossCase("margin mse, sigmoid", MarginMSE(activation="sigmoid"), _numbers(2)),
    LossCase("distill kl", DistillKL(), _numbers(2)),
    LossCase("distill kl, temperatures", DistillKL("cosine", 0.3, 2.0), _numbers(2)),
    *(
        LossCase(f"embedding distillation, {comparison}", EmbeddingDistillation(comparison), _numbers(DIM))
        for comparison in ("cosine", "mse", "l2")
    ),
    LossCase("embedding distillation, by column", EmbeddingDistillation("mse"), _numbers(3, DIM)),
    LossCase(
        "embedding distillation, projected", EmbeddingDistillation("l2", projection=TEACHER), _numbers(TEACHER),
        projected=TEACHER,
    ),
    LossCase("orthogonal regularization", OrthogonalRegularization(1.0, 3.0)),
    LossCase("matryoshka", Matryoshka(CoSENT(0.2), (DIM, 4), (1.0, 0.5)), _score),
    LossCase(
        "layers", AdaptiveLayers(CosineSimilarity(), 2, 0.7, 0.9, 0.5, layer_weighting="log"), _score, layers=(0, 2)
    ),
    LossCase("sum", Sum([InfoNCE(0.5), OrthogonalRegularization(), MarginMSE()], [1.0, 2.0, 0.5]), _numbers(2)),
)  # fmt: skip
PAIRS = (
    LossCase("binary cross-entropy", BinaryCrossEntropy(2.0), _grades, LISTS, 1),
    LossCase("binary cross-entropy, single pairs", BinaryCrossEntropy(), _binary, SINGLES, 1),
    LossCase("score mse", ScoreMSE(), _grades, LISTS, 1),
    LossCase("score mse, sigmoid", ScoreMSE("sigmoid"), _binary, SINGLES, 1),
    LossCase("cross-entropy", CrossEntropy(), _class, SINGLES, CLASSES),
    LossCase("cross-entropy, probabilities", CrossEntropy(0.1), _probabilities, SINGLES, CLASSES),
    LossCase("margin mse of pairs, scores", MarginMSE(), _grades, LISTS, 1),
    LossCase(
        "margin mse of pairs, margins", MarginMSE(activation="sigmoid"), lambda row: draws(sum(row), len(row) - 1),
        LISTS, 1,
    ),
    LossCase("in-batch ranking", InBatchRanking(None), None, LISTS, 1, own=1),
    LossCase(
        "in-batch ranking and labels", Sum([InBatchRanking(None, 0.5, "identity"), ScoreMSE()]),
        lambda row: draws(sum(row), 2), LISTS, 1, own=2,
    ),
    LossCase("listnet", ListNet(), _grades, LISTS, 1),
    LossCase("listnet, sigmoid", ListNet("sigmoid"), _grades, LISTS, 1),
    LossCase("listmle", ListMLE(), _grades, LISTS, 1),
    LossCase("listmle, by label", ListMLE(False), _grades, LISTS, 1),
    LossCase("plistmle", PListMLE(), _grades, LISTS, 1),
    LossCase("plistmle, logarithmic", PListMLE(False, "logarithmic", "sigmoid"), _grades, LISTS, 1),
    *(
        LossCase(f"lambda, {weighting}", Lambda(weighting, k=k), _grades, LISTS, 1)
        for weighting, k in (("ndcg2++", None), ("ndcg2", 2), ("ndcg1", None), ("lambdarank", None), ("none", 1))
    ),
    LossCase("ranknet", RankNet(sigma=2.0), _grades, LISTS, 1),
    LossCase("adr mse", ADRMSE(2.0), _grades, LISTS, 1),
)  # fmt: skip
CASES = VECTORS + PAIRS
