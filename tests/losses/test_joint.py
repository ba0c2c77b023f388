"""InfoNCE in several directions, with hardness weights, and without false negatives."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer import losses as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedTokenizerFast

from sightline.errors import ConfigError
from sightline.losses import blockwise
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.losses.joint import DIRECTIONS, FalseNegatives
from sightline.types import Batch, Embeddings

ROWS, DIM = 9, 12
GTE = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
GIST = ("query_to_doc", "query_to_query", "positive_to_positive")
# An anchor with two positives, a hard negative that is another row's positive, absent cells, equal contents.
COLUMNS = [[0, 5, 8], [1, 6, 5], [0, 7, -1], [2, 5, 9], [3, 10, 11], [4, -1, 8], [3, 12, 13]]
KEYS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 12, 2]


def draws(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def by_column(columns: int, **options: Any) -> Batch:
    """Distinct items, numbered column by column."""
    return Batch(
        micro_batches=[],
        keys_N=torch.arange(columns * ROWS),
        columns_BC=torch.arange(columns * ROWS).reshape(columns, ROWS).t(),
        roles=("query", *["document"] * (columns - 1)),
        **options,
    )


def crowded(**options: Any) -> Batch:
    return Batch([], torch.tensor(KEYS), torch.tensor(COLUMNS), ("query", "document", "document"), **options)


def assert_equal(loss: InfoNCE, batch: Batch, theirs: Any, leaf: Tensor) -> None:
    """Value and gradient, from vectors (columns, rows, dim)."""
    wanted = theirs(list(leaf))
    (wanted_gradient,) = torch.autograd.grad(wanted, leaf)
    found = loss(Embeddings(leaf.flatten(0, 1)), batch)["infonce"]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.autograd.grad(found, leaf)[0], wanted_gradient, atol=1e-5, rtol=0)
    assert wanted_gradient.abs().max() > 1e-3


@pytest.mark.parametrize("columns", [2, 4])
@pytest.mark.parametrize(
    "directions",
    [("query_to_doc", *more) for n in range(4) for more in itertools.combinations(GTE[1:], n)],
    ids=lambda directions: "+".join(directions[1:]) or "one",
)
def test_directions_equal_those_of_sentence_transformers(columns: int, directions: tuple[Any, ...]) -> None:
    theirs = st.MultipleNegativesRankingLoss(None, directions=directions, partition_mode="joint")
    leaf = draws(columns, ROWS, DIM).requires_grad_()
    assert_equal(
        InfoNCE(directions=directions),
        by_column(columns),
        lambda parts: theirs.compute_loss_from_embeddings(parts, None),
        leaf,
    )


@pytest.mark.parametrize("mode", ["in_batch_negatives", "hard_negatives", "all_negatives"])
@pytest.mark.parametrize(
    ("directions", "symmetric"), [(GTE[:1], False), (GTE, False), (GTE[:1], True)], ids=["one", "all", "both"]
)
def test_hardness_equals_that_of_sentence_transformers(
    mode: Any, directions: tuple[Any, ...], symmetric: bool
) -> None:
    theirs = st.MultipleNegativesRankingLoss(
        None,
        directions=("query_to_doc", "doc_to_query") if symmetric else directions,
        partition_mode="per_direction" if symmetric else "joint",
        hardness_mode=mode,
        hardness_strength=7.0,
    )
    loss = InfoNCE(symmetric=symmetric, directions=directions, hardness=mode, hardness_strength=7.0)
    leaf = draws(4, ROWS, DIM).requires_grad_()
    assert_equal(loss, by_column(4), lambda parts: theirs.compute_loss_from_embeddings(parts, None), leaf)
    leaf = leaf.detach()
    plain = InfoNCE(symmetric=symmetric, directions=directions)
    assert float(plain(Embeddings(leaf.flatten(0, 1)), by_column(4))["infonce"]) < float(
        loss(Embeddings(leaf.flatten(0, 1)), by_column(4))["infonce"]
    )


class Stub(SimpleNamespace):
    """What the constructor of their loss looks at of a model."""

    def __getitem__(self, number: int) -> None: ...


@pytest.mark.parametrize("columns", [2, 4])
@pytest.mark.parametrize(
    ("margin", "relative", "contrasts"),
    [
        (0.0, False, (True, True)),
        (0.1, False, (True, True)),
        (0.05, True, (True, True)),
        (0.1, False, (False, True)),
        # Theirs compares an item with itself where the margin reaches beyond a similarity of 1; ours never does.
        (-0.2, False, (False, False)),
        (0.05, True, (False, False)),
    ],
)
def test_the_guide_equals_that_of_sentence_transformers(
    columns: int, margin: float, relative: bool, contrasts: tuple[bool, bool]
) -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, "a")))
    stub = Stub(tokenizer=tokenizer, max_seq_length=8)
    theirs = st.CachedGISTEmbedLoss(
        stub,
        stub,
        temperature=0.05,
        margin=margin,
        margin_strategy="relative" if relative else "absolute",
        contrast_anchors=contrasts[0],
        contrast_positives=contrasts[1],
    )
    chosen = (True, *contrasts)
    loss = InfoNCE(
        temperature=0.05,
        directions=tuple(one for one, wanted in zip(GIST, chosen, strict=True) if wanted),
        false_negatives=FalseNegatives(margin, relative),
    )
    leaf = draws(columns, ROWS, DIM).requires_grad_()
    # Positives are near their anchors, or the guide would find almost everything nearer.
    guide = draws(columns, ROWS, 7, seed=1)
    guide[1] = guide[0] + 1.3 * guide[1]
    batch = by_column(columns, guide_NG=guide.flatten(0, 1))
    assert_equal(
        loss, batch, lambda parts: theirs.calculate_loss([[p] for p in parts], [[g] for g in guide]), leaf
    )
    leaf = leaf.detach()
    kept = float(loss(Embeddings(leaf.flatten(0, 1)), batch)["infonce"])
    assert kept < float(replace(loss, false_negatives=None)(Embeddings(leaf.flatten(0, 1)), batch)["infonce"])


def naive(
    values: Tensor, columns: list[list[int]], keys: list[int], t: float, rule: FalseNegatives | None
) -> float:
    """All four directions in one softmax, from the definition, one pair at a time."""
    unit = normalize(values, dim=1)
    rows = [row for row in columns if row[0] >= 0 and row[1] >= 0]
    queries = {row[0] for row in rows}
    documents = {cell for row in columns for cell in row[1:] if cell >= 0}
    total = 0.0
    for row in rows:
        query, positive = row[0], row[1]
        answers = {keys[p] for q, p, *_ in rows if keys[q] == keys[query]} | {keys[query]}
        asked = {keys[q] for q, p, *_ in rows if keys[p] == keys[positive]} | {keys[positive]}
        limit = float(rule.limit(unit[query] @ unit[positive])) if rule else math.inf

        def near(left: int, right: int, limit: float = limit) -> bool:
            return float(unit[left] @ unit[right]) <= limit

        pairs = [(query, positive)]
        pairs += [
            (query, other)
            for other in queries | documents
            if other != positive and keys[other] not in answers and near(query, other)
        ]
        pairs += [
            (positive, other)
            for other in queries
            if other == query or (keys[other] not in asked and near(positive, other))
        ]
        pairs += [
            (positive, other)
            for other in documents
            if other not in row[1:] and keys[other] not in answers and near(positive, other)
        ]
        logits = torch.stack([unit[a] @ unit[b] / t for a, b in pairs])
        total += float(logits.logsumexp(0) - logits[0])
    return total / len(rows)


@pytest.mark.parametrize("rule", [None, FalseNegatives(0.1, by="model"), FalseNegatives(-0.3, by="model")])
def test_value_equals_the_naive_loop(rule: FalseNegatives | None) -> None:
    values = draws(14, 6, dtype=torch.float64)
    found = InfoNCE(0.3, directions=GTE, false_negatives=rule)(Embeddings(values), crowded())["infonce"]
    assert float(found) == pytest.approx(naive(values, COLUMNS, KEYS, 0.3, rule), abs=1e-12)


@pytest.mark.parametrize(
    "loss",
    [
        InfoNCE(0.5, directions=DIRECTIONS),
        InfoNCE(0.5, directions=GIST, false_negatives=FalseNegatives(0.05)),
        InfoNCE(0.5, symmetric=True, false_negatives=FalseNegatives(-0.1, by="model")),
    ],
)
def test_gradcheck(loss: InfoNCE) -> None:
    batch = crowded(guide_NG=draws(14, 5, seed=2, dtype=torch.float64))
    values = draws(14, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: loss(Embeddings(v), batch)["infonce"], (values,))


LOSSES = [
    InfoNCE(directions=GTE, hardness="all_negatives", hardness_strength=3.0),
    InfoNCE(directions=GIST, false_negatives=FalseNegatives(0.05)),
    InfoNCE(symmetric=True, false_negatives=FalseNegatives(-0.1, by="model")),
]


@pytest.mark.parametrize("loss", LOSSES)
def test_rows_and_items_may_be_permuted(loss: InfoNCE) -> None:
    values, guide = draws(14, 6, dtype=torch.float64), draws(14, 5, seed=2, dtype=torch.float64)
    expected = loss(Embeddings(values), crowded(guide_NG=guide))["infonce"]
    order = torch.randperm(14, generator=torch.Generator().manual_seed(0))
    place = torch.argsort(order).tolist()
    columns = [[place[c] if c >= 0 else -1 for c in row] for row in reversed(COLUMNS)]
    batch = Batch(
        [],
        torch.tensor(KEYS)[order],
        torch.tensor(columns),
        ("query", "document", "document"),
        guide_NG=guide[order],
    )
    torch.testing.assert_close(loss(Embeddings(values[order]), batch)["infonce"], expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_blocks_shares_of_ranks_and_prefixes_change_nothing(
    loss: InfoNCE, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = draws(14, 6, dtype=torch.float64).requires_grad_()
    batch = crowded(guide_NG=draws(14, 5, seed=2, dtype=torch.float64))
    whole = loss(Embeddings(values), batch)["infonce"]
    (gradient,) = torch.autograd.grad(whole, values)
    nested = Matryoshka(loss, (6, 3))(Embeddings(values), batch)
    cut = loss(Embeddings(values[:, :3]), batch)["infonce"]
    torch.testing.assert_close(nested["infonce_dim6"], whole)
    torch.testing.assert_close(nested["infonce_dim3"], cut)
    shares = [
        loss(Embeddings(values), replace(batch, scored=part))["infonce"]
        for part in (slice(0, 3), slice(3, 3), slice(3, 7))
    ]
    torch.testing.assert_close(torch.stack(shares).sum(), whole)
    monkeypatch.setattr(blockwise, "block_bytes", lambda device: 1)
    small = loss(Embeddings(values), batch)["infonce"]
    torch.testing.assert_close(small, whole)
    torch.testing.assert_close(torch.autograd.grad(small, values)[0], gradient)


def test_an_incomplete_batch_has_a_loss_of_zero() -> None:
    values = draws(14, 6).requires_grad_()
    batch = Batch([], torch.tensor(KEYS), torch.tensor([[0, -1], [-1, 3]]), ("query", "document"))
    loss = InfoNCE(directions=GTE)(Embeddings(values), batch)["infonce"]
    assert loss.item() == 0.0
    loss.backward()


def test_wrong_arguments_are_named() -> None:
    for directions in ((), ("doc_to_query",), ("query_to_doc", "sideways")):
        with pytest.raises(ConfigError, match="the directions of InfoNCE are 'query_to_doc' and any of"):
            InfoNCE(directions=directions)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="use one of the two"):
        InfoNCE(symmetric=True, directions=GTE)
    with pytest.raises(ConfigError, match="InfoNCE knows the hardness"):
        InfoNCE(hardness="some", hardness_strength=1.0)  # type: ignore[arg-type]
    for options in ({"hardness": "hard_negatives"}, {"hardness_strength": 1.0}):
        with pytest.raises(ConfigError, match="give both or neither"):
            InfoNCE(**options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="between -2 and 2"):
        FalseNegatives(5.0)
    with pytest.raises(ConfigError, match='"guide" or "model"'):
        FalseNegatives(by="nobody")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"but there is none; give Trainer\(guide="):
        InfoNCE(false_negatives=FalseNegatives())(Embeddings(draws(18, 4)), by_column(2))
    with pytest.raises(ConfigError, match="in the direction 'query_to_doc' alone"):
        InfoNCE(directions=GTE)(Embeddings(draws(18, 3, 4), torch.ones(18, 3)), by_column(2))


@pytest.mark.parametrize("similarity", ["dot", "maxsim"])
def test_a_model_judges_itself_by_cosines_alone(similarity: Any) -> None:
    rule = FalseNegatives(-0.1, by="model")
    with pytest.raises(
        ConfigError, match=rf"the similarity '{similarity}' has no bounds .*use similarity=\"cosine\""
    ):
        InfoNCE(similarity=similarity, false_negatives=rule)
    InfoNCE(similarity=similarity, false_negatives=FalseNegatives(0.1))  # a guide has cosines of its own
    tokens = Embeddings(draws(18, 3, 4), torch.ones(18, 3))
    with pytest.raises(
        ConfigError, match='a sum of them, which grows with the query; use similarity="meanmaxsim"'
    ):
        InfoNCE(false_negatives=rule)(tokens, by_column(2))


@pytest.mark.parametrize("columns", [2, 3])
def test_token_vectors_ask_with_the_query_in_both_directions(columns: int) -> None:
    """A rule that leaves nothing out changes nothing, though MaxSim is another number from the other side."""
    batch = by_column(columns)
    values = normalize(draws(columns * ROWS, 5, DIM), dim=-1)
    mask = torch.arange(5) < 1 + torch.arange(columns * ROWS)[:, None] % 5
    tokens = Embeddings(values * mask[..., None], mask)
    plain = InfoNCE(symmetric=True, similarity="meanmaxsim")
    ruled = replace(plain, false_negatives=FalseNegatives(margin=-2, by="model"))
    torch.testing.assert_close(ruled(tokens, batch), plain(tokens, batch), atol=1e-6, rtol=0)
