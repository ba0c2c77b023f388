"""Nothing named in a checkpoint runs, no path leads out of it, and a malformed file is named."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.errors import CheckpointError
from support.st_folders import SPELLINGS, load, modules, old_pooling, write


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
