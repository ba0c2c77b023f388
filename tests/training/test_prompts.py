"""A model's own prompts in training are those at inference: the vectors of a batch are those of encode_query and of
encode_document."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.training.arguments import TrainingArguments
from sightline.training.rows import as_rows
from sightline.training.source import RowSource

ROWS = [
    {"q": "the northern plants", "d": "a table of costs"},
    {"q": "a pump", "d": "the pump and its valves"},
]
ASK, PAGE, OTHER = "How many employees: ", "A diagram of ", "annual report: "


@pytest.mark.parametrize(
    ("prompts", "default", "found"),
    [
        ({"query": ASK, "document": PAGE}, None, (ASK, PAGE)),
        ({"query": ASK, "document": PAGE, "passage": OTHER}, None, (ASK, PAGE)),
        ({"query": ASK, "passage": PAGE, "corpus": OTHER}, None, (ASK, PAGE)),
        ({"query": ASK, "corpus": PAGE}, None, (ASK, PAGE)),
        ({"ask": ASK}, "ask", (ASK, ASK)),
        ({"ask": ASK, "passage": PAGE}, "ask", (ASK, PAGE)),
        ({"ask": ASK}, None, (None, None)),
    ],
    ids=["roles", "document first", "passage", "corpus", "default", "default and passage", "named only"],
)
@pytest.mark.parametrize("given", [None, "", {"q": OTHER}], ids=["own", "none", "by column"])
def test_a_batch_holds_what_encode_embeds(
    prompts: dict[str, str],
    default: str | None,
    found: tuple[str | None, str | None],
    given: str | dict[str, str] | None,
    tiny_encoder: Callable[[str], Encoder],
    tmp_path: Path,
) -> None:
    encoder = Encoder(list(tiny_encoder("bert").parts), prompts=prompts, default_prompt_name=default).eval()  # type: ignore[arg-type]
    rows = as_rows(ROWS)
    args = TrainingArguments(output_dir=str(tmp_path), prompts=given)
    builder = RowSource(encoder, InfoNCE(), args, {"": rows}, shows_progress=False).builder(rows)
    batch = builder([rows[number] for number in range(len(rows))])["batch"]
    assert batch is not None
    vectors_ND = torch.zeros(batch.num_items, encoder.embedding_dim)
    with torch.no_grad():
        for micro_batch in batch.micro_batches:
            vectors_ND[micro_batch.indices] = encoder(micro_batch).values
    queries, documents = [row["q"] for row in ROWS], [row["d"] for row in ROWS]
    if given is None:
        expected = encoder.encode_query(queries), encoder.encode_document(documents)
    elif given == "":
        expected = encoder.encode_query(queries, prompt=""), encoder.encode_document(documents, prompt="")
    else:
        expected = encoder.encode_query(queries, prompt=OTHER), encoder.encode_document(documents)
    for column, wanted in enumerate(expected):
        assert torch.allclose(vectors_ND[batch.columns_BC[:, column]], wanted.values, atol=1e-6)
    if given is None:
        written = [
            [(prompt or "") + text for text in texts]
            for prompt, texts in zip(found, (queries, documents), strict=True)
        ]
        for texts, wanted in zip(written, expected, strict=True):
            assert torch.allclose(encoder.encode(texts, prompt="").values, wanted.values, atol=1e-6)
