"""The spellings of Sentence Transformers 2 to 6, written by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

from sightline.models.encoder import Encoder
from sightline.modules.pooling import Pooling
from sightline.modules.router import Router
from support.fixtures import TEXTS
from support.st_folders import SPELLINGS, load, modules, old_pooling, write

Tiny = Callable[[str], Path]


@pytest.mark.parametrize("release", SPELLINGS)
@pytest.mark.parametrize("mode", ["cls", "max", "mean"])
def test_class_paths_of_every_release(
    release: int, mode: str, bert: Path, tiny_encoder: Callable[[str], Encoder]
) -> None:
    transformer, pooling = SPELLINGS[release]
    modules(bert, ("", transformer), ("1_Pooling", pooling))
    if release == 6:
        write(
            bert / "sentence_bert_config.json",
            {
                "transformer_task": "feature-extraction",
                "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
                "module_output_name": "token_embeddings",
            },
        )
        write(
            bert / "1_Pooling/config.json",
            {"embedding_dimension": 32, "pooling_mode": mode, "include_prompt": True},
        )
    else:
        write(bert / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})
        write(bert / "1_Pooling/config.json", old_pooling(mode))
    encoder = load(bert)
    backbone = tiny_encoder("bert").parts[0]
    wanted = Encoder([backbone, Pooling(32, mode)]).eval().encode(TEXTS).values  # type: ignore[list-item]
    assert torch.equal(encoder.encode(TEXTS).values, wanted)
    if release in (2, 6):  # the ones ST 6.2 itself still reads everywhere
        theirs = SentenceTransformer(str(bert), device="cpu").encode(TEXTS)
        assert abs(encoder.encode(TEXTS).numpy() - theirs).max() < 1e-6


def test_the_backbone_in_a_folder_of_its_own(tiny: Tiny, tmp_path: Path) -> None:
    root = tmp_path / "model"
    shutil.copytree(tiny("bert"), root / "0_Transformer")
    modules(root, ("0_Transformer", SPELLINGS[2][0]), ("1_Pooling", SPELLINGS[2][1]))
    write(root / "0_Transformer/sentence_roberta_config.json", {"max_seq_length": 9, "do_lower_case": False})
    write(root / "1_Pooling/config.json", old_pooling("mean"))
    encoder = load(root)
    assert encoder.backbones()[""].processor.max_tokens == 9
    assert (
        abs(encoder.encode(TEXTS).numpy() - SentenceTransformer(str(root), device="cpu").encode(TEXTS)).max()
        < 1e-6
    )


def test_several_pooling_flags_are_joined_in_sts_order(bert: Path) -> None:
    modules(bert, ("", SPELLINGS[2][0]), ("1_Pooling", SPELLINGS[2][1]))
    facts = {
        "word_embedding_dimension": 32, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True,
        "pooling_mode_lasttoken": True, "pooling_mode_weightedmean_tokens": True,
    }  # fmt: skip
    write(bert / "1_Pooling/config.json", facts)
    encoder = load(bert)
    assert encoder.embedding_dim == 128
    assert (
        abs(encoder.encode(TEXTS).numpy() - SentenceTransformer(str(bert), device="cpu").encode(TEXTS)).max()
        < 1e-6
    )


def test_arguments_kept_in_the_checkpoint_are_used(bert: Path) -> None:
    modules(bert, ("", SPELLINGS[2][0]), ("1_Pooling", SPELLINGS[2][1]))
    write(bert / "1_Pooling/config.json", old_pooling("mean"))
    write(
        bert / "sentence_bert_config.json",
        {
            "tokenizer_args": {"model_max_length": 7},
            "model_args": {"attn_implementation": "eager"},
            "config_args": {"hidden_dropout_prob": 0.25},
        },
    )
    backbone = load(bert).backbones()[""]
    assert backbone.processor.max_tokens == 7
    assert backbone.model.config._attn_implementation == "eager"
    assert backbone.model.config.hidden_dropout_prob == 0.25
    given = load(bert, processor_kwargs={"model_max_length": 11}, config_kwargs={"hidden_dropout_prob": 0.5})
    assert given.backbones()[""].processor.max_tokens == 11
    assert given.backbones()[""].model.config.hidden_dropout_prob == 0.5


def test_lower_casing_by_the_checkpoint(tiny: Tiny, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny("qwen3"), tmp_path / "model")
    modules(folder, ("", SPELLINGS[2][0]), ("1_Pooling", SPELLINGS[2][1]))
    write(folder / "1_Pooling/config.json", old_pooling("mean"))
    for lower in (True, False):
        write(folder / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": lower})
        encoder = load(folder)
        encoder.save_pretrained(tmp_path / "again")
        for one in (encoder, load(tmp_path / "again")):
            upper, under = one.encode(["ANNUAL Report", "annual report"]).values
            assert torch.allclose(upper, under, atol=1e-5) == lower


def test_asym_and_dense_as_st_2_to_4_wrote_them(bert: Path) -> None:
    old = "sentence_transformers.models."
    modules(bert, ("", old + "Transformer"), ("1_Pooling", old + "Pooling"), ("2_Asym", old + "Asym"))
    write(bert / "1_Pooling/config.json", old_pooling("mean"))
    write(
        bert / "2_Asym/config.json",
        {
            "types": dict.fromkeys(("query_0_Dense", "document_0_Dense"), old + "Dense.Dense"),
            "structure": {"query": ["query_0_Dense"], "document": ["document_0_Dense"]},
            "parameters": {"allow_empty_key": True},
        },
    )
    for number, name in enumerate(("query_0_Dense", "document_0_Dense")):
        write(
            bert / "2_Asym" / name / "config.json",
            {
                "in_features": 32,
                "out_features": 8,
                "bias": True,
                "activation_function": "torch.nn.modules.activation.Tanh",
            },
        )
        torch.manual_seed(number)
        weights = {"linear.weight": torch.randn(8, 32), "linear.bias": torch.randn(8)}
        torch.save(weights, bert / "2_Asym" / name / "pytorch_model.bin")
    encoder, theirs = load(bert), SentenceTransformer(str(bert), device="cpu")
    assert isinstance(encoder.parts[2], Router)
    assert encoder.embedding_dim == 8
    for ours, wanted in (
        (encoder.encode_query(TEXTS), theirs.encode_query(TEXTS)),
        (encoder.encode_document(TEXTS), theirs.encode_document(TEXTS)),
        (encoder.encode(TEXTS), theirs.encode(TEXTS)),  # no role: the first route
    ):
        assert abs(ours.numpy() - wanted).max() < 1e-6
    encoder.save_pretrained(bert.parent / "again")
    assert torch.equal(
        load(bert.parent / "again").encode_query(TEXTS).values, encoder.encode_query(TEXTS).values
    )
