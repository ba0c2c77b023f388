"""From rows to batches of pairs: the three kinds of rows, in-batch negatives, expansion, bad rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.errors import ConfigError, DataError
from sightline.losses.base import Loss
from sightline.losses.compose import Matryoshka, Sum
from sightline.losses.contrastive import InfoNCE
from sightline.losses.in_batch import InBatchRanking
from sightline.losses.lambda_loss import Lambda
from sightline.losses.pair_scores import IN_BATCH
from sightline.losses.pointwise import BinaryCrossEntropy, CrossEntropy
from sightline.models.reranker import Reranker
from sightline.training.arguments import TrainingArguments
from sightline.training.batches import BatchBuilder
from sightline.training.check import check_rows
from sightline.training.feeding import make_loader
from sightline.training.fitting import pair_losses
from sightline.training.limits import Limits
from sightline.training.pair_rows import labelled_pairs
from sightline.training.pairing import pair_reader
from sightline.training.rows import as_rows, choose_columns
from sightline.training.sampling import BatchOrder
from sightline.training.trainer import Trainer
from sightline.types import Batch
from support.tiny_rerankers import bert_scores


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Reranker:
    return Reranker.from_pretrained(bert_scores(tmp_path_factory.mktemp("bert")), device="cpu")


def make_builder(
    reranker: Reranker,
    columns: Sequence[str],
    loss: Loss,
    *,
    seed: int = 0,
    budget: int | None = 60,
    **options: Any,
) -> BatchBuilder:
    chosen = choose_columns(columns, **options)
    return BatchBuilder(
        reranker.preprocessor,
        reranker.collate,
        chosen,
        ("text",),
        Limits(budget),
        reranker.packed_groups,
        reader=pair_reader(chosen, loss, modalities=("text",), seed=seed),
    )


def batch_from(builder: BatchBuilder, rows: Sequence[dict[str, Any]]) -> Batch:
    delivery = builder(list(enumerate(rows)))
    assert delivery["bad"] == ()
    assert delivery["batch"] is not None
    return delivery["batch"]


PAIR_ROWS = [
    {"q": "hello", "d": "a page", "label": 1},
    {"q": "hello", "d": "a pump", "label": 0},
    {"q": "hello", "d": "a page", "label": 1},
]
LIST_ROWS = [
    {"q": "hello", "docs": ["a page", "a pump", "a table"], "labels": [2, 0, 1]},
    {"q": "a pump", "docs": ["a page"], "labels": [0]},
    {"q": "a page", "docs": ["hello", "a page"], "labels": [1, 0]},
]
TRIPLET_ROWS = [
    {"q": "pump", "pos": "the pump", "neg": "the report"},
    {"q": "table", "pos": "a table", "neg": None},
    {"q": "pump", "pos": "a pump", "neg": "the page"},
    {"q": "report", "pos": "the report", "neg": "the pump"},
]


def test_labelled_pairs_each_distinct_pair_once(reranker: Reranker) -> None:
    batch = batch_from(make_builder(reranker, ("q", "d", "label"), BinaryCrossEntropy()), PAIR_ROWS)
    assert batch.columns_BC.tolist() == [[0], [1], [0]]
    assert batch.targets["label"].tolist() == [1, 0, 1]
    assert batch.roles == ("pair",)
    assert batch.column_names == ("d",)
    assert sorted(index for one in batch.micro_batches for index in one.indices.tolist()) == [0, 1]


def test_labelled_lists_are_filled_up(reranker: Reranker) -> None:
    batch = batch_from(make_builder(reranker, ("q", "docs", "labels"), Lambda()), LIST_ROWS)
    assert batch.columns_BC.tolist() == [[0, 1, 2], [3, -1, -1], [4, 5, -1]]
    assert batch.targets["labels"].tolist() == [[2, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert batch.roles == ("pair",) * 3
    assert batch.column_names == ("docs",) * 3


def test_positive_and_negatives_are_labelled_by_their_columns(reranker: Reranker) -> None:
    batch = batch_from(make_builder(reranker, ("q", "pos", "neg"), BinaryCrossEntropy()), TRIPLET_ROWS)
    assert batch.columns_BC.tolist() == [[0, 1], [2, -1], [3, 4], [5, 6]]
    assert batch.targets["label"].tolist() == [[1, 0]] * 4


def test_a_query_column_by_role(reranker: Reranker) -> None:
    """The second direction of a dataset: the same rows with the roles exchanged."""
    roles = {"q": "document", "d": "query"}
    builder = make_builder(reranker, ("q", "d", "label"), BinaryCrossEntropy(), roles=roles)
    there = make_builder(reranker, ("d", "q", "label"), BinaryCrossEntropy())
    assert torch.equal(batch_from(builder, PAIR_ROWS).keys_N, batch_from(there, PAIR_ROWS).keys_N)


def test_the_prompt_stands_in_front_of_the_query(reranker: Reranker) -> None:
    prompted = make_builder(reranker, ("q", "d", "label"), BinaryCrossEntropy(), prompts={"q": "page: "})
    plain = make_builder(reranker, ("q", "d", "label"), BinaryCrossEntropy())
    written = [dict(row, q="page: " + row["q"]) for row in PAIR_ROWS]
    found, wanted = batch_from(prompted, PAIR_ROWS), batch_from(plain, written)
    for ours, theirs in zip(found.micro_batches, wanted.micro_batches, strict=True):
        assert torch.equal(ours.features["input_ids"], theirs.features["input_ids"])


# In-batch negatives


def in_batch_pairs(batch: Batch, rows: Sequence[dict[str, Any]]) -> list[set[str]]:
    """Per row, the documents of other rows that its query was paired with."""
    from sightline.inputs.pairs import parse_pair
    from sightline.training.batches import content_key

    documents = {value for row in rows for name, value in row.items() if name != "q" and value}
    name_of = {
        (row, content_key(parse_pair((one["q"], document)).key)): document
        for row, one in enumerate(rows)
        for document in documents
    }
    others = [column for column, name in enumerate(batch.column_names) if name == IN_BATCH]
    return [
        {
            name_of[row, int(batch.keys_N[cell])]
            for cell in batch.columns_BC[row, others].tolist()
            if cell >= 0
        }
        for row in range(len(rows))
    ]


def test_documents_have_no_prompt_of_their_own(
    reranker: Reranker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As in ST: a pair has one prompt."""

    def trainer(prompts: Any) -> Trainer:
        args = TrainingArguments(
            output_dir=str(tmp_path), prompts=prompts, eval_strategy="epoch", disable_tqdm=True
        )
        return Trainer(
            reranker, BinaryCrossEntropy(), train_dataset=PAIR_ROWS, eval_dataset=PAIR_ROWS, args=args
        )

    with caplog.at_level(logging.INFO, "sightline"):
        loader = trainer("page: ").get_train_dataloader()
    for rows in ("the training dataset", "the evaluation dataset"):
        assert f"Prompts in {rows}: q (query): 'page: ', d (document): no prompt" in caplog.messages
    written = make_builder(reranker, ("q", "d", "label"), BinaryCrossEntropy())
    wanted = batch_from(written, [dict(row, q=f"page: {row['q']}") for row in PAIR_ROWS])
    (found,) = (delivery["batch"] for delivery in loader)
    ids = [
        sorted(row.tolist() for one in batch.micro_batches for row in one.features["input_ids"])
        for batch in (found, wanted)
    ]
    assert ids[0] == ids[1]
    with pytest.raises(DataError, match="a text for column 'd' of the training dataset, a document, but"):
        trainer({"q": "page: ", "d": "the "}).get_train_dataloader()
    trainer({"q": "page: ", "d": ""}).get_train_dataloader()


def test_all_in_batch_negatives(reranker: Reranker) -> None:
    batch = batch_from(make_builder(reranker, ("q", "pos", "neg"), InBatchRanking(None)), TRIPLET_ROWS)
    # Rows 0 and 2 ask the same, so what stands in one is no negative of the other.
    assert in_batch_pairs(batch, TRIPLET_ROWS) == [
        {"a table"},
        {"the pump", "the report", "a pump", "the page"},
        {"a table"},
        {"a table", "a pump", "the page"},
    ]
    assert batch.column_names == ("pos", "neg", *[IN_BATCH] * 4)
    assert "label" in batch.targets


def test_drawn_in_batch_negatives_depend_on_the_seed_and_the_rows_alone(reranker: Reranker) -> None:
    rows = [{"q": f"query {n}", "pos": f"page {n}"} for n in range(20)]
    builder = make_builder(reranker, ("q", "pos"), InBatchRanking(4))
    found = in_batch_pairs(batch_from(builder, rows), rows)
    assert all(len(one) == 4 and f"page {n}" not in one for n, one in enumerate(found))
    assert found == in_batch_pairs(batch_from(builder, rows), rows)
    other = make_builder(reranker, ("q", "pos"), InBatchRanking(4), seed=1)
    assert found != in_batch_pairs(batch_from(other, rows), rows)
    # Every document is drawn about as often.
    drawn = [document for one in found for document in one]
    assert len(set(drawn)) > 12


def test_workers_make_the_same_batches(reranker: Reranker) -> None:
    rows = as_rows([{"q": f"query {n}", "pos": f"page {n}"} for n in range(12)])
    builder = make_builder(reranker, ("q", "pos"), Sum([InBatchRanking(3)]))
    found = []
    for workers in (0, 2):
        loader = make_loader(rows, builder, BatchOrder(range(12), 5, seed=3), num_workers=workers)
        found.append([delivery["batch"] for delivery in loader])
        loader.dataset.close()  # type: ignore[attr-defined]
    for ours, theirs in zip(*found, strict=True):
        assert ours is not None
        assert theirs is not None
        assert torch.equal(ours.keys_N, theirs.keys_N)
        assert torch.equal(ours.columns_BC, theirs.columns_BC)
    assert [len(batch.rows) for batch in found[0] if batch] == [5, 5, 2]


def test_a_batch_of_one_row_has_no_in_batch_negatives(reranker: Reranker) -> None:
    batch = batch_from(
        make_builder(reranker, ("q", "pos"), InBatchRanking()), [{"q": "pump", "pos": "a pump"}]
    )
    assert batch.columns_BC.tolist() == [[0]]


# What cannot be used


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"q": None, "docs": ["a"], "labels": [1]}, "row 1, column 'q': empty; every pair needs a query"),
        ({"q": "a", "docs": [], "labels": []}, "row 1, column 'docs': the list is empty"),
        ({"q": "a", "docs": None, "labels": [1]}, "row 1, column 'docs': empty; the row has no document"),
        ({"q": "a", "docs": ["b", None], "labels": [1, 0]}, "row 1, column 'docs': document 1 is empty"),
        ({"q": "a", "docs": ["b", "c"], "labels": [1]}, "row 1: 2 documents in column 'docs', but 1 labels in"),
        ({"q": "a", "docs": ["b", "c"], "labels": 1}, "row 1: 2 documents in column 'docs', but a single label in"),
        ({"q": "a", "docs": ["b", "c"], "labels": [1, float("nan")]}, "row 1, column 'labels': not a finite number"),
        ({"q": "a", "docs": ["b", "c"], "labels": None}, "row 1, column 'labels': expected a number or a list"),
        ({"q": "a", "docs": ["b", "c"], "labels": [[1], [0, 1]]}, "row 1, column 'labels': expected a number or"),
        ({"q": "a", "docs": ["b", "c"]}, "row 1, column 'labels'"),
        ({"q": "a", "labels": [1]}, "row 1, column 'docs': the row has no such column"),
    ],
)  # fmt: skip
def test_bad_rows_are_found_before_the_first_step(reranker: Reranker, row: dict, message: str) -> None:
    builder = make_builder(reranker, ("q", "docs", "labels"), Lambda())
    report = check_rows(as_rows([LIST_ROWS[0], row]), builder, show_progress=False)
    assert [bad.row for bad in report.bad] == [1]
    assert message in report.bad[0].reason
    delivery = builder([(0, LIST_ROWS[0]), (1, row)])
    assert [bad.reason for bad in delivery["bad"]] == [report.bad[0].reason]


@pytest.mark.parametrize(
    ("columns", "loss", "message"),
    [
        (("q", "d"), BinaryCrossEntropy(), "has the columns q, d and no label; BinaryCrossEntropy needs one"),
        (("q", "d"), Sum([InBatchRanking(), CrossEntropy()]), "no label; CrossEntropy needs one"),
        (("q", "label"), BinaryCrossEntropy(), "has q as queries and no column as documents"),
    ],
)
def test_missing_columns_are_named(
    reranker: Reranker, columns: tuple[str, ...], loss: Loss, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        make_builder(reranker, columns, loss)


def test_in_batch_negatives_want_a_positive_column(reranker: Reranker) -> None:
    builder = make_builder(reranker, ("q", "docs", "labels"), InBatchRanking())
    report = check_rows(as_rows(LIST_ROWS), builder, show_progress=False)
    assert "a list of documents, of which none is the positive" in report.bad[0].reason


def test_losses_over_vectors_are_refused() -> None:
    for loss in (InfoNCE(), Matryoshka(InfoNCE(), (8,)), Sum([InBatchRanking(), InfoNCE()])):
        with pytest.raises(
            ConfigError, match="is for the vectors of an Encoder, and a Reranker gives scores"
        ):
            pair_losses(loss)


# Expansion


def test_rows_are_expanded_by_a_ratio() -> None:
    rows = [{"q": f"query {n}", "pos": f"page {n}", "neg": f"hard {n}" if n else None} for n in range(6)]
    pairs = labelled_pairs(rows, negatives=3)
    assert len(pairs) == 24
    found = [pairs[index] for index in range(len(pairs))]
    assert found == [pairs[index] for index in range(len(pairs))]
    for number in range(6):
        right, *wrong = found[4 * number : 4 * number + 4]
        assert right == {"q": f"query {number}", "pos": f"page {number}", "label": 1}
        assert all(one["q"] == f"query {number}" and one["label"] == 0 for one in wrong)
        documents = [one["pos"] for one in wrong]
        assert len(set(documents)) == 3
        assert f"page {number}" not in documents
        assert (documents[0] == f"hard {number}") == (number > 0)
    assert as_rows(pairs).column_names == ("q", "pos", "label")


def test_the_other_direction_draws_from_the_other_column() -> None:
    rows = [{"q": f"query {n % 4}", "pos": f"page {n}", "neg": f"hard {n}"} for n in range(8)]
    pairs = labelled_pairs(rows, negatives=2, query="pos", positive="q")
    found = [pairs[index] for index in range(len(pairs))]
    assert as_rows(pairs).column_names == ("pos", "q", "label")
    for number in range(8):
        right, *wrong = found[3 * number : 3 * number + 3]
        assert right == {"pos": f"page {number}", "q": f"query {number % 4}", "label": 1}
        # Equal contents of other rows are no negatives.
        assert len({one["q"] for one in (right, *wrong)}) == 3


def test_expansion_says_what_is_wrong() -> None:
    rows = [{"q": "a", "pos": "same"}, {"q": "b", "pos": "same"}]
    with pytest.raises(
        DataError, match="row 0: 1 negatives are wanted, but the dataset has too few other documents"
    ):
        labelled_pairs(rows, negatives=1)[1]
    with pytest.raises(ConfigError, match="from 0 up, not -1"):
        labelled_pairs(rows, negatives=-1)
    with pytest.raises(DataError, match="has no column 'image', only q, pos"):
        labelled_pairs(rows, negatives=1, positive="image")
    with pytest.raises(DataError, match="one column, 'q', and no document"):
        labelled_pairs([{"q": "a"}], negatives=1)
    with pytest.raises(IndexError):
        labelled_pairs(rows, negatives=1)[4]


def test_readers_travel_without_the_model() -> None:
    import pickle

    reader = pair_reader(choose_columns(("q", "pos")), InBatchRanking(2), modalities=("text",))
    assert pickle.loads(pickle.dumps(reader)) == reader
