"""Losses over the scores of pairs: value against the definition, gradients, absent cells, parity with ST."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from sentence_transformers.cross_encoder import CrossEncoder
from sentence_transformers.cross_encoder import losses as st
from torch import Tensor, nn

from sightline.errors import ConfigError
from sightline.losses.compose import Sum
from sightline.losses.contrastive import InfoNCE
from sightline.losses.distillation import MarginMSE
from sightline.losses.in_batch import InBatchRanking
from sightline.losses.lambda_loss import Lambda, RankNet
from sightline.losses.listwise import ADRMSE, ListMLE, ListNet, PListMLE
from sightline.losses.pair_scores import IN_BATCH, PAIR, PairLoss
from sightline.losses.pointwise import BinaryCrossEntropy, CrossEntropy, ScoreMSE
from sightline.types import Batch, Embeddings

ROWS, DOCUMENTS = 5, 4


class TableModel(CrossEncoder):
    """ST's reranker of texts ``q2`` and ``d2-0``: the score of a pair is an entry of a table."""

    def __init__(self, table: Tensor) -> None:
        nn.Module.__init__(self)
        self.table = nn.Parameter(table)  # (queries, rows, documents, labels)

    num_labels = property(lambda self: self.table.shape[-1])  # type: ignore[assignment]
    device = property(lambda self: torch.device("cpu"))  # type: ignore[assignment]

    def preprocess(self, inputs: Any, prompt: Any = None, **_: Any) -> dict[str, Tensor]:
        found = [[int(query[1:]), *map(int, document[1:].split("-"))] for query, document in inputs]
        return {"places": torch.tensor(found)}

    def forward(self, inputs: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        query, row, document = inputs["places"].unbind(1)
        return {"scores": self.table[query, row, document]}


def table(labels: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(labels)
    return (2 * torch.randn(ROWS, ROWS, DOCUMENTS, labels, generator=generator, dtype=torch.float64)).to(
        dtype
    )


def place(query: int, row: int, document: int) -> int:
    return (query * ROWS + row) * DOCUMENTS + document


def batch_of(columns: Sequence[Sequence[int]], labels: Any = None, others: int = 0) -> Batch:
    """Rows of items of the flattened table; ``others`` of the columns hold other rows' documents."""
    width = len(columns[0])
    return Batch(
        micro_batches=[],
        keys_N=torch.arange(ROWS * ROWS * DOCUMENTS),
        columns_BC=torch.tensor(columns),
        roles=(PAIR,) * width,
        column_names=("document",) * (width - others) + (IN_BATCH,) * others,
        targets={} if labels is None else {"label": torch.as_tensor(labels)},
    )


def total(loss: PairLoss | Sum, values: Tensor, batch: Batch) -> Tensor:
    return torch.stack(list(loss(Embeddings(values), batch).values())).sum()


QUERIES = [f"q{row}" for row in range(ROWS)]
# Documents per query, and graded labels in the order of the lists; zeros fill them up.
COUNTS = [4, 1, 3, 2, 4]
LISTS = [[2.0, 0.0, 3.0, 1.0], [1.0], [0.0, 0.0, 1.0], [1.0, 0.0], [0.5, -1.0, 2.0, 0.0]]
DISTINCT = [[2.0, 0.0, 3.0, 1.0], [1.0], [0.3, 0.0, 1.0], [1.0, 0.0], [0.5, -1.0, 2.0, 0.0]]
BINARY = [1.0, 0.0, 0.0, 1.0, 0.7]
CLASSES = [2, 0, 1, 1, 2]
SOFT = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(4)).softmax(1)
MARGINS = torch.randn(ROWS, 2, generator=torch.Generator().manual_seed(5))
TEACHER = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(6))


def lists_batch(labels: Sequence[Sequence[float]]) -> Batch:
    columns = [
        [place(row, row, document) if document < COUNTS[row] else -1 for document in range(DOCUMENTS)]
        for row in range(ROWS)
    ]
    return batch_of(columns, [[*row, *[0.0] * (DOCUMENTS - len(row))] for row in labels])


def lists_of(loss: Any, labels: Sequence[Sequence[float]]) -> Tensor:
    documents = [[f"d{row}-{number}" for number in range(COUNTS[row])] for row in range(ROWS)]
    return loss([QUERIES, documents], [torch.tensor(row) for row in labels])


def columns_of(loss: Any, documents: int, labels: Any) -> Tensor:
    """ST's loss on a query and so many document columns."""
    columns = [[f"d{row}-{number}" for row in range(ROWS)] for number in range(documents)]
    return loss([list(QUERIES), *columns], labels)


def columns_batch(documents: int, labels: Any = None, *, others: bool = False) -> Batch:
    columns = [[place(row, row, number) for number in range(documents)] for row in range(ROWS)]
    if not others:
        return batch_of(columns, labels)
    more = [
        [place(row, other, number) for other in range(ROWS) if other != row for number in range(documents)]
        for row in range(ROWS)
    ]
    return batch_of(
        [own + theirs for own, theirs in zip(columns, more, strict=True)], labels, others=len(more[0])
    )


def logarithmic(mask: Tensor) -> Tensor:
    return (1.0 / torch.log1p(mask.cumsum(-1))).masked_fill(~mask, 0)


Case = tuple[str, PairLoss, Batch, int, Callable[[TableModel], Tensor]]
CASES: list[Case] = [
    (
        "binary cross-entropy", BinaryCrossEntropy(), columns_batch(1, BINARY), 1,
        lambda model: columns_of(st.BinaryCrossEntropyLoss(model), 1, torch.tensor(BINARY)),
    ),
    (
        "binary cross-entropy, weight", BinaryCrossEntropy(3.0), columns_batch(1, BINARY), 1,
        lambda model: columns_of(
            st.BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(3.0)), 1, torch.tensor(BINARY)
        ),
    ),
    (
        "cross-entropy", CrossEntropy(), columns_batch(1, CLASSES), 3,
        lambda model: columns_of(st.CrossEntropyLoss(model), 1, torch.tensor(CLASSES)),
    ),
    (
        "cross-entropy, probabilities", CrossEntropy(0.1), columns_batch(1, SOFT), 3,
        lambda model: columns_of(st.CrossEntropyLoss(model, label_smoothing=0.1), 1, SOFT),
    ),
    (
        "mse", ScoreMSE(), columns_batch(1, BINARY), 1,
        lambda model: columns_of(st.MSELoss(model), 1, torch.tensor(BINARY)),
    ),
    (
        "mse, sigmoid", ScoreMSE("sigmoid"), columns_batch(1, BINARY), 1,
        lambda model: columns_of(st.MSELoss(model, activation_fn=nn.Sigmoid()), 1, torch.tensor(BINARY)),
    ),
    (
        "margin mse", MarginMSE(), columns_batch(3, MARGINS), 1,
        lambda model: columns_of(st.MarginMSELoss(model), 3, MARGINS),
    ),
    (
        "margin mse, scores", MarginMSE(activation="sigmoid"), columns_batch(3, TEACHER), 1,
        lambda model: columns_of(st.MarginMSELoss(model, activation_fn=nn.Sigmoid()), 3, TEACHER),
    ),
    (
        "margin mse, one margin", MarginMSE(), columns_batch(2, BINARY), 1,
        lambda model: columns_of(st.MarginMSELoss(model), 2, torch.tensor(BINARY)),
    ),
    (
        "in-batch ranking", InBatchRanking(None), columns_batch(1, others=True), 1,
        lambda model: columns_of(st.MultipleNegativesRankingLoss(model, num_negatives=None), 1, None),
    ),
    (
        "in-batch ranking, hard negatives", InBatchRanking(None, 0.5, "identity"), columns_batch(3, others=True), 1,
        lambda model: columns_of(
            st.MultipleNegativesRankingLoss(model, num_negatives=None, scale=2.0, activation_fn=nn.Identity()), 3, None
        ),
    ),
    (
        "listnet", ListNet(), lists_batch(LISTS), 1,
        lambda model: lists_of(st.ListNetLoss(model), LISTS),
    ),
    (
        "listnet, sigmoid", ListNet("sigmoid"), lists_batch(LISTS), 1,
        lambda model: lists_of(st.ListNetLoss(model, activation_fn=nn.Sigmoid()), LISTS),
    ),
    (
        "listmle", ListMLE(), lists_batch(LISTS), 1,
        lambda model: lists_of(st.ListMLELoss(model), LISTS),
    ),
    (
        "listmle, by label", ListMLE(False), lists_batch(DISTINCT), 1,
        lambda model: lists_of(st.ListMLELoss(model, respect_input_order=False), DISTINCT),
    ),
    (
        "plistmle", PListMLE(), lists_batch(LISTS), 1,
        lambda model: lists_of(st.PListMLELoss(model), LISTS),
    ),
    (
        "plistmle, logarithmic by label", PListMLE(False, "logarithmic", "sigmoid"), lists_batch(DISTINCT), 1,
        lambda model: lists_of(
            st.PListMLELoss(
                model, st.PListMLELambdaWeight(logarithmic), nn.Sigmoid(), respect_input_order=False
            ),
            DISTINCT,
        ),
    ),
    (
        "lambda", Lambda(), lists_batch(LISTS), 1,
        lambda model: lists_of(st.LambdaLoss(model), LISTS),
    ),
    (
        "lambda, ndcg2++ to rank 2", Lambda(k=2, mu=3.0, sigma=0.5), lists_batch(LISTS), 1,
        lambda model: lists_of(st.LambdaLoss(model, st.NDCGLoss2PPScheme(3.0), k=2, sigma=0.5), LISTS),
    ),
    (
        "lambda, ndcg1", Lambda("ndcg1"), lists_batch(LISTS), 1,
        lambda model: lists_of(st.LambdaLoss(model, st.NDCGLoss1Scheme()), LISTS),
    ),
    (
        "lambda, ndcg2", Lambda("ndcg2", logarithm="natural"), lists_batch(LISTS), 1,
        lambda model: lists_of(st.LambdaLoss(model, st.NDCGLoss2Scheme(), reduction_log="natural"), LISTS),
    ),
    (
        "lambda, lambdarank", Lambda("lambdarank", activation="sigmoid"), lists_batch(LISTS), 1,
        lambda model: lists_of(
            st.LambdaLoss(model, st.LambdaRankScheme(), activation_fn=nn.Sigmoid()), LISTS
        ),
    ),
    (
        "lambda, no weights", Lambda("none", k=1), lists_batch(LISTS), 1,
        lambda model: lists_of(st.LambdaLoss(model, st.NoWeightingScheme(), k=1), LISTS),
    ),
    (
        "ranknet", RankNet(sigma=2.0), lists_batch(LISTS), 1,
        lambda model: lists_of(st.RankNetLoss(model, sigma=2.0), LISTS),
    ),
    (
        "adr mse", ADRMSE(2.0), lists_batch(LISTS), 1,
        lambda model: lists_of(st.ADRMSELoss(model, alpha=2.0), LISTS),
    ),
]  # fmt: skip
NAMES = [case[0] for case in CASES]


@pytest.mark.parametrize(("name", "ours", "batch", "labels", "theirs"), CASES, ids=NAMES)
def test_value_and_gradient_equal_those_of_sentence_transformers(
    name: str, ours: PairLoss, batch: Batch, labels: int, theirs: Callable[[TableModel], Tensor]
) -> None:
    model = TableModel(table(labels))
    wanted = theirs(model)
    (wanted_gradient,) = torch.autograd.grad(wanted, model.table)
    leaf = table(labels).requires_grad_()
    found = total(ours, leaf.reshape(-1, labels), batch)
    (gradient,) = torch.autograd.grad(found, leaf)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gradient, wanted_gradient, atol=1e-6, rtol=1e-5)
    assert gradient.abs().max() > 1e-4, "nothing was learnt, so nothing was compared"


def rows_of(batch: Batch, rows: Sequence[int]) -> Batch:
    kept = torch.as_tensor(rows)
    return Batch(
        micro_batches=[],
        keys_N=batch.keys_N,
        columns_BC=batch.columns_BC[kept],
        roles=batch.roles,
        column_names=batch.column_names,
        targets={name: values[kept] for name, values in batch.targets.items()},
    )


@pytest.mark.parametrize(("name", "ours", "batch", "labels", "theirs"), CASES, ids=NAMES)
def test_gradcheck_permutation_and_absent_cells(
    name: str, ours: PairLoss, batch: Batch, labels: int, theirs: Callable[[TableModel], Tensor]
) -> None:
    values = table(labels, torch.float64).reshape(-1, labels)
    assert torch.autograd.gradcheck(lambda v: total(ours, v, batch), (values.clone().requires_grad_(),))

    order = [3, 1, 4, 0, 2]
    torch.testing.assert_close(total(ours, values, rows_of(batch, order)), total(ours, values, batch))

    # A row without any pair counts as if it were not there.
    emptied = rows_of(batch, range(ROWS))
    emptied.columns_BC[2] = -1
    torch.testing.assert_close(
        total(ours, values, emptied), total(ours, values, rows_of(batch, [0, 1, 3, 4]))
    )
    assert torch.autograd.gradcheck(lambda v: total(ours, v, emptied), (values.clone().requires_grad_(),))


LISTWISE = [case for case in CASES if case[2].columns_BC.shape[1] == DOCUMENTS]


@pytest.mark.parametrize(
    ("name", "ours", "batch", "labels", "theirs"), LISTWISE, ids=[c[0] for c in LISTWISE]
)
def test_a_missing_document_counts_as_if_the_list_were_shorter(
    name: str, ours: PairLoss, batch: Batch, labels: int, theirs: Callable[[TableModel], Tensor]
) -> None:
    """Wherever in the list it is missing."""
    values = table(labels, torch.float64).reshape(-1, labels)
    holes = rows_of(batch, [0, 4])
    holes.columns_BC[0, 1] = -1
    shorter = rows_of(batch, [0, 4])
    shorter.columns_BC[0] = torch.tensor([*batch.columns_BC[0, [0, 2, 3]], -1])
    shorter.targets["label"][0] = torch.tensor([*batch.targets["label"][0, [0, 2, 3]], 9.0])
    torch.testing.assert_close(total(ours, values, holes), total(ours, values, shorter))


# The definitions, one pair at a time.


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def naive_bce(scores: list[list[float]], labels: list[list[float]]) -> float:
    terms = [
        -(2.0 * y * log_sigmoid(s) + (1 - y) * log_sigmoid(-s))
        for row, ys in zip(scores, labels, strict=True)
        for s, y in zip(row, ys, strict=True)
    ]
    return sum(terms) / len(terms)


def naive_mse(scores: list[list[float]], labels: list[list[float]]) -> float:
    terms = [
        (s - y) ** 2 for row, ys in zip(scores, labels, strict=True) for s, y in zip(row, ys, strict=True)
    ]
    return sum(terms) / len(terms)


def naive_margin(scores: list[list[float]], labels: list[list[float]]) -> float:
    terms = [
        ((row[0] - row[n]) - (ys[0] - ys[n])) ** 2
        for row, ys in zip(scores, labels, strict=True)
        for n in range(1, len(row))
    ]
    return sum(terms) / len(terms)


def naive_in_batch(scores: list[list[float]], labels: list[list[float]]) -> float:
    sigmoid = [[1 / (1 + math.exp(-s)) for s in row] for row in scores]
    return -sum(
        math.log(math.exp(row[0] / 0.1) / sum(math.exp(s / 0.1) for s in row)) for row in sigmoid
    ) / len(sigmoid)


def naive_listnet(scores: list[list[float]], labels: list[list[float]]) -> float:
    value = 0.0
    for row, ys in zip(scores, labels, strict=True):
        for s, y in zip(row, ys, strict=True):
            wanted = math.exp(y) / sum(math.exp(other) for other in ys)
            value -= wanted * math.log(math.exp(s) / sum(math.exp(other) for other in row))
    return value / len(scores)


def naive_mle(scores: list[list[float]], labels: list[list[float]], weighted: bool) -> float:
    value = 0.0
    for row in scores:
        weights = [2.0 ** (len(row) - rank) - 1 if weighted else 1.0 for rank in range(1, len(row) + 1)]
        if weighted:
            weights = [weight / max(sum(weights), 1e-10) for weight in weights]
        for rank, s in enumerate(row):
            value -= weights[rank] * math.log(math.exp(s) / sum(math.exp(other) for other in row[rank:]))
    return value / len(scores)


def naive_lambda(scores: list[list[float]], labels: list[list[float]], mu: float | None) -> float:
    """NDCG-Loss2++ with the weight ``mu``, or RankNet without one."""
    terms = []
    for row, ys in zip(scores, labels, strict=True):
        best = sum(
            (2 ** max(y, 0.0) - 1) / math.log2(2 + rank) for rank, y in enumerate(sorted(ys, reverse=True))
        )
        rank_of = {n: rank for rank, n in enumerate(sorted(range(len(row)), key=lambda n: -row[n]), start=1)}
        for i in range(len(row)):
            for j in range(len(row)):
                if ys[i] <= ys[j]:
                    continue
                weight = 1.0
                if mu is not None:
                    a, b = rank_of[i], rank_of[j]
                    gap = abs(2 ** max(ys[i], 0.0) - 2 ** max(ys[j], 0.0)) / max(best, 1e-10)
                    top = 1 / math.log2(1 + abs(a - b)) - 1 / math.log2(2 + abs(a - b))
                    weight = (mu * top + abs(1 / math.log2(1 + a) - 1 / math.log2(1 + b))) * gap
                terms.append(-weight * log_sigmoid(row[i] - row[j]) / math.log(2))
    return sum(terms) / len(terms)


def naive_ranks(scores: list[list[float]], labels: list[list[float]]) -> float:
    terms = []
    for row, ys in zip(scores, labels, strict=True):
        for i in range(len(row)):
            others = [j for j in range(len(row)) if j != i]
            rank = 1 + sum(1.0 if ys[j] > ys[i] else 0.5 if ys[j] == ys[i] else 0.0 for j in others)
            smooth = 1 + sum(1 / (1 + math.exp(row[i] - row[j])) for j in others)
            terms.append((rank - smooth) ** 2 / math.log2(1 + rank))
    return sum(terms) / len(terms)


NAIVE: list[tuple[PairLoss, Callable[[list[list[float]], list[list[float]]], float]]] = [
    (BinaryCrossEntropy(2.0), naive_bce),
    (ScoreMSE(), naive_mse),
    (MarginMSE(), naive_margin),
    (InBatchRanking(), naive_in_batch),
    (ListNet(), naive_listnet),
    (ListMLE(), lambda scores, labels: naive_mle(scores, labels, weighted=False)),
    (PListMLE(), lambda scores, labels: naive_mle(scores, labels, weighted=True)),
    (Lambda(), lambda scores, labels: naive_lambda(scores, labels, 10.0)),
    (RankNet(), lambda scores, labels: naive_lambda(scores, labels, None)),
    (ADRMSE(), naive_ranks),
]


@pytest.mark.parametrize(("loss", "naive"), NAIVE, ids=[type(loss).__name__ for loss, _ in NAIVE])
def test_value_equals_the_naive_loop(
    loss: PairLoss, naive: Callable[[list[list[float]], list[list[float]]], float]
) -> None:
    labels = [[1.0, 0.0, 0.5, 0.25], [1.0], [0.0, 0.0, 1.0], [1.0, 0.0], [0.5, 0.0, 0.75, 0.1]]
    batch = lists_batch(labels)
    values = table(1, torch.float64).reshape(-1, 1)
    scores = [[float(values[cell, 0]) for cell in row if cell >= 0] for row in batch.columns_BC.tolist()]
    assert float(total(loss, values, batch)) == pytest.approx(naive(scores, labels), rel=1e-9)


def test_cross_entropy_equals_the_naive_loop() -> None:
    values = table(3, torch.float64).reshape(-1, 3)
    wanted = 0.0
    for row, label in enumerate(CLASSES):
        exps = [math.exp(float(s)) for s in values[place(row, row, 0)]]
        wanted -= math.log(exps[label] / sum(exps))
    found = float(total(CrossEntropy(), values, columns_batch(1, CLASSES)))
    assert found == pytest.approx(wanted / ROWS, rel=1e-9)


def test_a_pair_that_stands_twice_gets_the_gradient_of_both() -> None:
    values = table(1, torch.float64).reshape(-1, 1).requires_grad_()
    once, twice = batch_of([[0], [1]], [1.0, 1.0]), batch_of([[0], [0], [1]], [1.0, 1.0, 1.0])
    (single,) = torch.autograd.grad(total(BinaryCrossEntropy(), values, once), values)
    (double,) = torch.autograd.grad(total(BinaryCrossEntropy(), values, twice), values)
    torch.testing.assert_close(double[0] * 3, single[0] * 2 * 2)
    torch.testing.assert_close(double[1] * 3, single[1] * 2)


def test_documents_of_other_rows_have_no_labels() -> None:
    """Pointwise and in-batch losses on one batch, each on its columns."""
    values = table(1, torch.float64).reshape(-1, 1)
    labels = [[1.0, 0.0]] * ROWS
    both = Sum([InBatchRanking(None), BinaryCrossEntropy()])
    mixed = columns_batch(2, labels, others=True)
    apart = total(InBatchRanking(None), values, mixed) + total(
        BinaryCrossEntropy(), values, columns_batch(2, labels)
    )
    torch.testing.assert_close(total(both, values, mixed), apart)


def test_long_lists_do_not_overflow() -> None:
    values = torch.randn(300, 1, generator=torch.Generator().manual_seed(0)).requires_grad_()
    batch = Batch(
        [], torch.arange(300), torch.arange(300)[None], (PAIR,) * 300, targets={"label": torch.ones(1, 300)}
    )
    for loss in (PListMLE(), PListMLE(weighting="logarithmic"), ListMLE(), ListNet(), Lambda(k=10), ADRMSE()):
        value = total(loss, values, batch)
        (gradient,) = torch.autograd.grad(value, values)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BinaryCrossEntropy(0.0), "pos_weight above 0, not 0.0"),
        (lambda: CrossEntropy(1.0), "label_smoothing from 0 to below 1"),
        (lambda: ScoreMSE("tanh"), "ScoreMSE knows the activations identity, sigmoid, not 'tanh'"),  # type: ignore[arg-type]
        (lambda: InBatchRanking(-1), "number of negatives from 0 up, or None, not -1"),
        (lambda: InBatchRanking(temperature=0), "a temperature above 0"),
        (lambda: PListMLE(weighting="steep"), "weightings exponential, logarithmic, not 'steep'"),  # type: ignore[arg-type]
        (lambda: ADRMSE(alpha=0), "an alpha above 0, not 0"),
        (lambda: Lambda("ndcg3"), "weightings none, ndcg1, ndcg2, lambdarank, ndcg2"),  # type: ignore[arg-type]
        (lambda: Lambda(k=0), "a k of at least 1"),
        (lambda: RankNet(sigma=0), "RankNet needs a sigma above 0"),
        (lambda: RankNet(logarithm="decimal"), "logarithms binary, natural"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("loss", "labels", "batch", "message"),
    [
        (BinaryCrossEntropy(), 1, columns_batch(1), "needs exactly one target column"),
        (BinaryCrossEntropy(), 1, columns_batch(1, [0.0, 3.0, 1.0, 0.0, 0.0]), "between 0 and 1, found 3.0"),
        (
            BinaryCrossEntropy(),
            3,
            columns_batch(1, BINARY),
            "needs one score per pair, but the model gives 3",
        ),
        (ListNet(), 1, columns_batch(3, BINARY), "rows have 3 documents, but 1 labels"),
        (
            CrossEntropy(),
            3,
            columns_batch(1, [0, 3, 1, 0, 0]),
            "from 0 to 2 for a model with 3 labels, found 3",
        ),
        (CrossEntropy(), 3, columns_batch(1, SOFT[:, :2]), "or 3 probabilities, per pair, not 2"),
        (CrossEntropy(), 3, columns_batch(2, BINARY), "rows of one pair"),
        (
            MarginMSE(),
            1,
            columns_batch(3, torch.zeros(ROWS, 5)),
            "2 margins or 3 scores per row for 2 negatives",
        ),
        (MarginMSE(), 1, columns_batch(1, BINARY), "rows have only one"),
        (InBatchRanking(0), 1, columns_batch(1), "negatives=0 takes none of other rows"),
    ],
)
def test_what_a_batch_lacks_is_named(loss: PairLoss, labels: int, batch: Batch, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        total(loss, table(labels).reshape(-1, labels), batch)


def test_losses_know_whether_they_see_scores_or_vectors() -> None:
    vectors = Batch([], torch.arange(4), torch.arange(4).view(2, 2), ("query", "document"))
    with pytest.raises(ConfigError, match="an Encoder needs a loss over vectors, such as InfoNCE"):
        total(InBatchRanking(), torch.randn(4, 8), vectors)
    assert isinstance(MarginMSE(), PairLoss)
    assert not isinstance(InfoNCE(), PairLoss)
