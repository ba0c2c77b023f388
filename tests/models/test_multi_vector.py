"""Encoders that give a vector per token: encoding, roles, saving, a run of the Trainer, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from sightline.errors import CheckpointError, ConfigError
from sightline.evaluation.retrieval import RetrievalEvaluator
from sightline.inputs.roles import QueryExpansion, RoleTexts
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.models import encoding_windows
from sightline.models.encoder import Encoder
from sightline.modules.heads import Dense, Normalize
from sightline.modules.token_mask import TokenMask
from sightline.modules.token_pooling import TokenPooling
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer
from support import tiny_late, tiny_models
from support.fixtures import TEXTS
from support.tiny_late import DOCUMENTS, QUERIES


def colbert(folder: Path, texts: RoleTexts | None = None, *, pooling: TokenPooling | None = None) -> Encoder:
    """A ColBERT of random weights, built by hand."""
    bare = Encoder.from_pretrained(folder, device="cpu")
    backbone = bare.backbones()[""]
    if texts is not None:
        backbone.texts = texts
    torch.manual_seed(1)
    tokens = "token_embeddings"
    dense = Dense(32, 16, bias=False, activation=nn.Identity(), input_name=tokens)
    parts = [backbone, dense, TokenMask([".", ","]), Normalize(input_name=tokens)]
    return Encoder([*parts, *([pooling] if pooling else [])], prompts=tiny_late.PROMPTS).eval()


def test_one_at_a_time_or_all_together(tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding_windows, "TEXT_WINDOW", 3)
    encoder = colbert(tiny("bert"), RoleTexts(expansion=QueryExpansion(12)))
    for encode in (encoder.encode_query, encoder.encode_document):
        together = encode([*DOCUMENTS, *QUERIES, DOCUMENTS[0]])
        assert together.mask is not None
        assert together.values.shape[1] == together.mask.sum(1).max()
        assert (together.values[~together.mask] == 0).all()
        alone = [encode(value).tokens()[0] for value in (*DOCUMENTS, *QUERIES, DOCUMENTS[0])]
        for one, other in zip(together.tokens(), alone, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert encoder.encode_query(QUERIES).values.shape == (len(QUERIES), 12, 16)


def test_options_of_encode(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    encoder = colbert(tiny("bert"))
    full = encoder.encode_document(DOCUMENTS)
    cut = encoder.encode_document(DOCUMENTS, truncate_dim=5, normalize=True)
    torch.testing.assert_close(cut.values, full.truncate(5, normalize=True).values)
    low = encoder.encode_document(DOCUMENTS, bf16=True)
    assert (low.values - full.values).abs().max() < 0.05
    small = encoder.encode_document(DOCUMENTS, token_pooling=TokenPooling(2))
    torch.testing.assert_close(small.values, TokenPooling(2).pool(full).values)
    with pytest.raises(ConfigError, match="one vector per item"):
        encoder.encode(TEXTS, output=tmp_path / "vectors.npy")
    assert not list(tmp_path.iterdir())


def test_memory_holds_each_text_at_its_own_length_until_the_end(tiny: Callable[[str], Path]) -> None:
    """One long text among many short ones: equal to a list of rows, with the mask telling them apart."""
    encoder = colbert(tiny("bert"))
    values = ["x", "pump " * 50, *[f"a {number}" for number in range(30)]]
    found = encoder.encode_document(iter(values))
    expected = [encoder.encode_document(value).tokens()[0] for value in values]
    assert [len(one) for one in found.tokens()] == [len(one) for one in expected]


def test_saved_with_everything_and_read_again(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    texts = RoleTexts(20, 30, QueryExpansion(16, "min", attend=True, token="[SEP]"))
    encoder = colbert(tiny("bert"), texts, pooling=TokenPooling(2, protected=0))
    encoder.save_pretrained(tmp_path / "model")
    again = Encoder.from_pretrained(tmp_path / "model", device="cpu")
    assert again.backbones()[""].texts == texts
    assert [type(part) for part in again.parts] == [type(part) for part in encoder.parts]
    assert again.prompts == encoder.prompts
    for first, second in ((encoder.encode_query(QUERIES), again.encode_query(QUERIES)),
                          (encoder.encode_document(DOCUMENTS), again.encode_document(DOCUMENTS))):  # fmt: skip
        torch.testing.assert_close(first.values, second.values)
    with pytest.raises(CheckpointError, match="does not cut token vectors"):
        encoder.save_pretrained(tmp_path / "cut", truncate_dim=8)


def test_a_run_of_the_trainer_teaches_it(tmp_path: Path) -> None:
    folder = tiny_models.bert(tmp_path / "bert", dropout=0.0)
    encoder = colbert(folder, RoleTexts(expansion=QueryExpansion(32)))
    things = ["pump", "valve", "plant", "report", "table", "seal", "diagram", "region"]
    rows = [{"query": f"where is the {thing}?", "page": f"costs of a {thing}, page 3"} for thing in things]
    queries = {f"q{number}": row["query"] for number, row in enumerate(rows)}
    corpus = {f"d{number}": row["page"] for number, row in enumerate(rows)}
    evaluator = RetrievalEvaluator(queries, corpus, {f"q{n}": {f"d{n}"} for n in range(len(rows))})
    args = TrainingArguments(
        output_dir=str(tmp_path / "run"), num_train_epochs=60, per_device_train_batch_size=8, learning_rate=2e-3,
        report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True, logging_steps=1,
    )  # fmt: skip
    loss = Matryoshka(InfoNCE(temperature=1.0, similarity="maxsim"), (16, 8))
    before = evaluator(encoder)["ndcg@10"]  # of random weights and a vocabulary trained on the spot
    trainer = Trainer(encoder, loss, train_dataset=rows, args=args)
    trainer.train()
    card = trainer.card()
    assert "from sentence_transformers import MultiVectorEncoder" in card
    assert "a vector per token of 16 dimensions, compared by maxsim" in card
    assert "- late-interaction" in card
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert losses[-1] < losses[0] * 0.6
    assert evaluator(encoder)["ndcg@10"] > max(0.9, before + 0.2)


def test_what_is_refused(tiny: Callable[[str], Path], tiny_encoder: Callable[[str], Encoder]) -> None:
    with pytest.raises(CheckpointError, match="query_length 8 is below"):
        RoleTexts(8, None, QueryExpansion(16))
    with pytest.raises(CheckpointError, match="length of 1 token or more"):
        QueryExpansion(0)
    with pytest.raises(CheckpointError, match="strategies fixed, min"):
        QueryExpansion(4, "most")  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="does not know 'no such token'"):
        colbert(tiny("bert"), RoleTexts(expansion=QueryExpansion(8, token="no such token"))).encode_query("x")
    encoder = Encoder.from_pretrained(tiny("qwen3_vl"), device="cpu", multi_vector=True)
    encoder.backbones()[""].texts = RoleTexts(expansion=QueryExpansion(8))
    with pytest.raises(CheckpointError, match="chat template"):
        encoder.encode_query("x")
    with pytest.raises(CheckpointError, match="no part that gives a vector per token"):
        Encoder.from_pretrained(tiny("clip"), device="cpu", multi_vector=True)
    with pytest.raises(ConfigError, match="for models that give a vector per token"):
        tiny_encoder("bert").encode(TEXTS, token_pooling=TokenPooling(2))
