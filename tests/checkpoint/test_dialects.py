"""The spellings of Sentence Transformers 2 to 6, written by hand, and what is refused in them."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer

from sightline.errors import CheckpointError
from sightline.models.encoder import Encoder
from sightline.modules.heads import Dense
from sightline.modules.pooling import Pooling
from sightline.modules.router import Router
from support.fixtures import TEXTS

Tiny = Callable[[str], Path]
FLAGS = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "sqrt": "mean_sqrt_len_tokens"}


def write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data))


def modules(folder: Path, *entries: tuple[str, str]) -> None:
    """``modules.json`` out of (path, class) pairs."""
    listed = [
        {"idx": n, "name": str(n), "path": path, "type": kind} for n, (path, kind) in enumerate(entries)
    ]
    write(folder / "modules.json", listed)


def old_pooling(mode: str) -> dict[str, Any]:
    return {"word_embedding_dimension": 32} | {
        f"pooling_mode_{flag}": name == mode for name, flag in FLAGS.items()
    }


def load(folder: Path, **options: Any) -> Encoder:
    return Encoder.from_pretrained(folder, device="cpu", **options)


@pytest.fixture
def bert(tiny: Tiny, tmp_path: Path) -> Path:
    """A copy of a bare BERT, to be made into a checkpoint."""
    return shutil.copytree(tiny("bert"), tmp_path / "model")


SPELLINGS = {
    2: ("sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"),
    3: (
        "sentence_transformers.models.Transformer.Transformer",
        "sentence_transformers.models.Pooling.Pooling",
    ),
    5: (
        "sentence_transformers.models.transformer.Transformer",
        "sentence_transformers.sentence_transformer.models.Pooling",
    ),
    6: (
        "sentence_transformers.base.modules.transformer.Transformer",
        "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    ),
}


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


# Nothing named in a checkpoint runs


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable module ``planted`` that leaves a file behind when it is imported; returns that file."""
    fired = tmp_path / "fired"
    code = f"open({str(fired)!r}, 'w').close()\nfrom torch.nn import Tanh as Act, Identity as Transformer\n"
    write(tmp_path / "path" / "planted.py", code)
    monkeypatch.syspath_prepend(tmp_path / "path")
    return fired


@pytest.mark.parametrize(
    "path",
    [
        "planted.Transformer",
        "planted",
        "os.system",
        "sentence_transformers_evil.Transformer",
        "Transformer",
        "",
    ],
)
def test_a_class_outside_sentence_transformers_is_refused_and_never_imported(
    path: str, bert: Path, trap: Path
) -> None:
    modules(bert, ("", path), ("1_Pooling", SPELLINGS[2][1]))
    with pytest.raises(
        CheckpointError, match=r"modules\.json: the checkpoint asks for the class .* never run"
    ):
        load(bert, trust_remote_code=True)
    assert not trap.exists()
    assert "planted" not in sys.modules


def test_classes_and_activations_named_deeper_down_are_not_imported_either(bert: Path, trap: Path) -> None:
    old = "sentence_transformers.models."
    modules(bert, ("", old + "Transformer"), ("1_Pooling", old + "Pooling"), ("2_Dense", old + "Dense"))
    write(bert / "1_Pooling/config.json", old_pooling("mean"))
    dense = {"in_features": 32, "out_features": 8}
    for activation in (
        "planted.Act",
        "torch.nn.planted.Act",
        "torch.hub.load",
        "torch.nn.modules.module.Module",
    ):
        write(bert / "2_Dense/config.json", dense | {"activation_function": activation})
        with pytest.raises(CheckpointError, match=r"2_Dense/config\.json: unknown activation"):
            load(bert)
    modules(bert, ("", old + "Router"))
    write(bert / "router_config.json", {"types": {"a": "planted.Transformer"}, "structure": {"x": ["a"]}})
    with pytest.raises(CheckpointError, match=r"router_config\.json: the checkpoint asks for the class"):
        load(bert)
    assert not trap.exists()


def test_a_class_of_st_that_we_do_not_have_is_named(bert: Path) -> None:
    modules(bert, ("", "sentence_transformers.models.BoW"))
    with pytest.raises(
        CheckpointError, match=r"modules\.json: 'sentence_transformers\.models\.BoW' has no equivalent"
    ):
        load(bert)


def test_a_checkpoint_cannot_switch_its_own_code_on(bert: Path, tmp_path: Path) -> None:
    fired = tmp_path / "fired"
    config = json.loads((bert / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    write(bert / "config.json", config)
    write(
        bert / "own.py",
        f"open({str(fired)!r}, 'w').close()\nfrom transformers import BertConfig as Config, BertModel as Model\n",
    )
    modules(bert, ("", SPELLINGS[2][0]), ("1_Pooling", SPELLINGS[2][1]))
    write(bert / "1_Pooling/config.json", old_pooling("mean"))
    trusting = {"trust_remote_code": True}
    for names in (
        ("model_args", "tokenizer_args", "config_args"),
        ("model_kwargs", "processor_kwargs", "config_kwargs"),
    ):
        write(bert / "sentence_bert_config.json", dict.fromkeys(names, trusting))
        with pytest.raises(CheckpointError, match="transformers cannot load it"):
            load(bert)
    assert not fired.exists()


def test_a_kernel_named_by_the_checkpoint_is_not_fetched(bert: Path) -> None:
    modules(bert, ("", SPELLINGS[2][0]), ("1_Pooling", SPELLINGS[2][1]))
    write(bert / "1_Pooling/config.json", old_pooling("mean"))
    write(bert / "sentence_bert_config.json", {"model_args": {"attn_implementation": "somebody/kernel"}})
    assert load(bert).backbones()[""].model.config._attn_implementation == "sdpa"


def test_pickled_weights_that_carry_code_are_refused(bert: Path, trap: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(trap), "w")

    old = "sentence_transformers.models."
    modules(bert, ("", old + "Transformer"), ("1_Pooling", old + "Pooling"), ("2_Dense", old + "Dense"))
    write(bert / "1_Pooling/config.json", old_pooling("mean"))
    write(bert / "2_Dense/config.json", {"in_features": 32, "out_features": 8})
    torch.save({"linear.weight": Payload()}, bert / "2_Dense/pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"2_Dense/pytorch_model\.bin: cannot be read"):
        load(bert)
    assert not trap.exists()


# Paths and files


@pytest.mark.parametrize("path", ["../other", "/etc", "a/../../b", "..", "1_Pooling/../../x", "..\\other"])
def test_a_path_that_leaves_the_checkpoint_is_refused(path: str, bert: Path) -> None:
    modules(bert, ("", SPELLINGS[2][0]), (path, SPELLINGS[2][1]))
    with pytest.raises(CheckpointError, match="leads out of the checkpoint"):
        load(bert)
    old = "sentence_transformers.models."
    modules(bert, ("", old + "Router"))
    write(bert / "router_config.json", {"types": {path: old + "Transformer"}, "structure": {"x": [path]}})
    with pytest.raises(CheckpointError, match="leads out of the checkpoint"):
        load(bert)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("modules.json", "[{", "not valid JSON"),
        ("modules.json", {"idx": 0}, "expected a list of modules"),
        ("modules.json", [{"path": ""}], "expected a list of modules"),
        ("modules.json", [], "lists no module"),
        ("1_Pooling/config.json", "{,}", "not valid JSON"),
        ("1_Pooling/config.json", [], "expected a JSON object, found a list"),
        ("1_Pooling/config.json", {"pooling_mode": "mean"}, "no embedding_dimension"),
        ("sentence_bert_config.json", "\x00", "not valid JSON"),
        ("sentence_bert_config.json", {"modality_config": {"smell": {"method": "forward"}}}, "'smell' is not"),
        ("sentence_bert_config.json", {"modality_config": {"text": {"method": "__init__"}}}, "names the method"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "gives no embeddings"),
        ("config_sentence_transformers.json", "nonsense", "not valid JSON"),
        ("config_sentence_transformers.json", {"prompts": ["a"]}, "prompts is a list"),
        ("sightline.json", "7", "expected a JSON object"),
        ("config.json", "{", "transformers cannot load it"),
        ("model.safetensors", "no weights", "transformers cannot load it"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_named(bert: Path, file: str, content: Any, said: str) -> None:
    modules(bert, ("", SPELLINGS[2][0]), ("1_Pooling", SPELLINGS[2][1]))
    write(bert / "1_Pooling/config.json", old_pooling("mean"))
    write(bert / file, content)
    with pytest.raises(CheckpointError, match=said) as caught:
        load(bert)
    assert str(bert) in str(caught.value)
    if not said.startswith(("transformers", "'smell", "names", "gives")):
        assert str(bert / file) in str(caught.value)


@pytest.mark.parametrize(
    ("router", "said"),
    [
        ({"structure": {"x": []}}, "no 'types'"),
        ({"types": [], "structure": {}}, "'types' is a list"),
        ({"types": {}, "structure": {"x": ["missing"]}}, "without a type: missing"),
        ({"types": {}, "structure": {}}, "without a type"),
        (
            {
                "types": {},
                "structure": {"x": []},
                "parameters": {"route_mappings": {"__import__('os')": "x"}},
            },
            "not a .task, modality. pair",
        ),
        ({"types": {}, "structure": {"x": []}, "parameters": {"default_route": "y"}}, "no route 'y'"),
    ],
)
def test_a_malformed_router_is_explained(bert: Path, router: dict[str, Any], said: str) -> None:
    modules(
        bert,
        ("", SPELLINGS[2][0]),
        ("1_Pooling", SPELLINGS[2][1]),
        ("2_Router", "sentence_transformers.models.Router"),
    )
    write(bert / "1_Pooling/config.json", old_pooling("mean"))
    write(bert / "2_Router/router_config.json", router)
    with pytest.raises(CheckpointError, match=said):
        load(bert)


def test_weights_that_are_missing_or_do_not_fit(bert: Path) -> None:
    from safetensors.torch import save_file

    old = "sentence_transformers.models."
    modules(bert, ("", old + "Transformer"), ("1_Pooling", old + "Pooling"), ("2_Dense", old + "Dense"))
    write(bert / "1_Pooling/config.json", old_pooling("mean"))
    write(bert / "2_Dense/config.json", {"in_features": 32, "out_features": 8})
    with pytest.raises(CheckpointError, match=r"2_Dense: no model\.safetensors"):
        load(bert)
    save_file(
        {"linear.weight": torch.zeros(8, 31), "linear.bias": torch.zeros(8)},
        bert / "2_Dense/model.safetensors",
    )
    with pytest.raises(CheckpointError, match="2_Dense: the weights do not fit"):
        load(bert)
    write(bert / "2_Dense/model.safetensors", "cut of")
    with pytest.raises(CheckpointError, match=r"2_Dense/model\.safetensors: cannot be read"):
        load(bert)
    write(bert / "2_Dense/model.safetensors", "")
    with pytest.raises(CheckpointError, match=r"2_Dense/model\.safetensors: cannot be read"):
        load(bert)


# Bare checkpoints


@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [
        ("bert", "mean", "the mean over tokens, as it is an encoder"),
        ("qwen3", "lasttoken", "the last token, as it is a causal or vision-language model"),
        ("qwen3_vl", "lasttoken", "the last token, as it is a causal or vision-language model"),
        ("vit", "mean", "the mean over tokens"),
        ("clip", None, "the model's own pooled features"),
    ],
)
def test_a_bare_checkpoint_gets_its_pooling_and_says_so_once(
    name: str, mode: str | None, said: str, tiny: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="sightline"):
        encoder = load(tiny(name))
    lines = [record.getMessage() for record in caplog.records if record.name == "sightline"]
    assert len(lines) == 1
    assert lines[0].startswith(f"{name} has no pooling settings: using {said}")
    assert [part.modes for part in encoder.parts if isinstance(part, Pooling)] == ([(mode,)] if mode else [])
    caplog.clear()
    encoder.save_pretrained(tiny(name).parent / f"{name}-saved")
    load(tiny(name).parent / f"{name}-saved")
    assert not [record for record in caplog.records if record.name == "sightline"]


def test_an_encoder_decoder_gives_its_encoder(tiny: Tiny, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    folder = tmp_path / "t5"
    tokenizer = AutoTokenizer.from_pretrained(tiny("bert"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    encoder = load(folder)
    assert not any("decoder" in name for name, _ in encoder.named_parameters())
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    assert abs(encoder.encode(TEXTS).numpy() - theirs).max() < 1e-5
    encoder.save_pretrained(tmp_path / "saved")
    assert torch.equal(load(tmp_path / "saved").encode(TEXTS).values, encoder.encode(TEXTS).values)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither modules\.json nor config\.json"):
        load(tmp_path)
    for missing in (tmp_path / "missing", Path("./missing")):
        with pytest.raises(CheckpointError, match="missing: no such folder"):
            load(missing)


def test_the_folder_one_stands_in(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bert)
    assert load(Path(".")).embedding_dim == 32


def test_heads_load_in_the_type_of_the_backbone(bert: Path) -> None:
    old = "sentence_transformers.models."
    modules(bert, ("", old + "Transformer"), ("1_Pooling", old + "Pooling"), ("2_Dense", old + "Dense"))
    write(bert / "1_Pooling/config.json", old_pooling("mean"))
    write(bert / "2_Dense/config.json", {"in_features": 32, "out_features": 8})
    torch.save(
        {"linear.weight": torch.ones(8, 32), "linear.bias": torch.ones(8)}, bert / "2_Dense/pytorch_model.bin"
    )
    encoder = load(bert, dtype="bfloat16")
    assert isinstance(encoder.parts[2], Dense)
    assert encoder.parts[2].linear.weight.dtype == torch.bfloat16
    assert encoder.encode(TEXTS).shape == (len(TEXTS), 8)
