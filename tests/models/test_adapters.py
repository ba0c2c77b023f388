"""LoRA: which layers get it, what is trained, and that a saved adapter is the one that was trained."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sightline.errors import CheckpointError, ConfigError
from sightline.models.adapters import LoRA, heads, layers_by_part, tower_names
from sightline.models.encoder import Encoder
from sightline.models.fingerprint import fingerprint
from sightline.models.reranker import Reranker
from sightline.modules.heads import Dense, LayerNorm, Normalize
from support import tiny_answers, tiny_rerankers
from support.adapted import stir, trained
from support.fixtures import TEXTS
from support.tiny_rerankers import PAIRS

MODELS = {
    "bert": LoRA(r=2),
    "qwen3": LoRA(r=2, dropout=0.3),
    "qwen3_vl": LoRA(("language", "vision"), r=2),
    "vit": LoRA(r=2),
    "clip": LoRA(("language", "vision", "projection"), r=2, alpha=3),
}


def vectors(encoder: Encoder, pictures: list[Image.Image]) -> torch.Tensor:
    """Of texts and images, as far as the model takes them."""
    inputs = [
        *(TEXTS if encoder.supports("text") else ()),
        *(pictures if encoder.supports("image") else ()),
    ]
    return encoder.encode(inputs).values


def near(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Within 1e-6 of the longest vector."""
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) <= 1e-6 * max(1.0, float(wanted.norm(dim=-1).max()))


@pytest.fixture
def make(tiny: Callable[[str], Path]) -> Callable[..., Encoder]:
    """``make("bert", *heads)``: a tiny encoder of its own, with heads behind it."""

    def made(name: str, *heads: Any) -> Encoder:
        encoder = Encoder.from_pretrained(tiny(name), device="cpu")
        return Encoder([*encoder.parts, *heads]).eval() if heads else encoder  # type: ignore[list-item]

    return made


# Which layers


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("bert", {"language": 12}),  # two layers of six, the pooler left out
        ("qwen3", {"language": 14}),
        ("vit", {"vision": 12}),
        ("clip", {"language": 12, "vision": 12, "projection": 2}),
        # Three vision blocks of four, and one merger and two deepstack mergers of two.
        ("qwen3_vl", {"language": 21, "vision": 18}),
    ],
)
def test_the_parts_of_a_model(name: str, parts: dict[str, int], make: Callable[..., Encoder]) -> None:
    model = make(name).backbones()[""].model
    found = layers_by_part(model)
    assert {part: len(names) for part, names in found.items()} == parts
    assert all(
        isinstance(model.get_submodule(one), torch.nn.Linear) for names in found.values() for one in names
    )
    assert not any("pooler" in one for names in found.values() for one in names)
    assert list(tower_names(model)) == list(parts)
    assert heads(model) == []


def test_the_language_model_is_adapted_by_default(make: Callable[..., Encoder]) -> None:
    encoder = make("qwen3_vl")
    encoder.add_adapter()
    names = trained(encoder)
    assert names
    assert all(".language_model." in name and ".lora_" in name for name in names)


def test_layers_by_name(make: Callable[..., Encoder]) -> None:
    encoder = make("qwen3")
    encoder.add_adapter(LoRA(target_modules=("q_proj", "v_proj")))
    assert {name.split(".")[-4] for name in trained(encoder)} == {"q_proj", "v_proj"}


def test_settings_of_peft_are_taken(make: Callable[..., Encoder]) -> None:
    from peft import LoraConfig

    encoder = make("bert")
    settings = LoraConfig(r=3, target_modules=["query"])
    encoder.add_adapter(settings)
    assert {tuple(one.shape) for one in encoder.parameters() if one.requires_grad} == {(3, 32), (32, 3)}
    assert settings.base_model_name_or_path is None, "the settings given are left as they were"


# What is trained


@pytest.mark.parametrize("name", MODELS)
def test_a_new_adapter_changes_no_vector_and_freezes_the_rest(
    name: str, make: Callable[..., Encoder], pictures: list[Image.Image]
) -> None:
    encoder = make(name)
    before = vectors(encoder, pictures)
    encoder.add_adapter(MODELS[name])
    assert torch.equal(vectors(encoder, pictures), before)
    assert all(".lora_" in one for one in trained(encoder))
    assert not any(module.training for module in encoder.modules()), (
        "dropout of a model that is not in training"
    )
    stir(encoder)
    assert not torch.allclose(vectors(encoder, pictures), before, atol=1e-3)


def test_heads_are_trained_beside_it(make: Callable[..., Encoder]) -> None:
    encoder = make("bert", Dense(32, 8), LayerNorm(8), Normalize())
    encoder.add_adapter()
    found = {name for name in trained(encoder) if ".lora_" not in name}
    assert found == {
        "parts.2.linear.weight",
        "parts.2.linear.bias",
        "parts.3.norm.weight",
        "parts.3.norm.bias",
    }


# Saving


@pytest.mark.parametrize("merge", [False, True], ids=["adapter", "merged"])
@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_gives_the_vectors_it_gave(
    name: str, merge: bool, make: Callable[..., Encoder], pictures: list[Image.Image], tmp_path: Path
) -> None:
    heads = [Dense(24 if name == "clip" else 64 if name == "qwen3_vl" else 32, 8), Normalize()]
    encoder = make(name, *heads)
    encoder.add_adapter(MODELS[name])
    stir(encoder)
    wanted, weights = vectors(encoder, pictures), copy.deepcopy(encoder.state_dict())
    encoder.save_pretrained(tmp_path / "saved", merge=merge)
    assert (tmp_path / "saved" / "adapter_config.json").exists() is not merge
    assert (tmp_path / "saved" / "config.json").exists() is merge
    again = Encoder.from_pretrained(tmp_path / "saved", device="cpu")
    near(vectors(again, pictures), wanted)
    assert not any(module.training for module in again.modules())
    # What was loaded is trained as what was saved was; merged, it is an ordinary model.
    assert trained(again) == ({one for one, _ in again.named_parameters()} if merge else trained(encoder))
    assert any(".lora_" in one for one in again.state_dict()) is not merge
    # And once more, from what was loaded.
    again.save_pretrained(tmp_path / "again", merge=True)
    near(vectors(Encoder.from_pretrained(tmp_path / "again", device="cpu"), pictures), wanted)
    # Saving left the model in memory as it was.
    assert torch.equal(vectors(encoder, pictures), wanted)
    assert encoder.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[one]) for one, value in encoder.state_dict().items())


def test_merging_in_place_leaves_the_model_that_is_saved(
    make: Callable[..., Encoder], tmp_path: Path
) -> None:
    encoder = make("qwen3")
    encoder.add_adapter(LoRA(r=2))
    stir(encoder)
    wanted = encoder.encode(TEXTS).values
    encoder.save_pretrained(tmp_path / "saved", merge=True)
    encoder.merge_adapter()
    near(encoder.encode(TEXTS).values, wanted)
    assert trained(encoder) == {name for name, _ in encoder.named_parameters()}
    # An index that is built with the one is opened with the other.
    assert fingerprint(encoder) == fingerprint(Encoder.from_pretrained(tmp_path / "saved", device="cpu"))


def test_an_adapter_names_its_model_wherever_it_is_read_from(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny("bert"), tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    encoder = Encoder.from_pretrained("base", device="cpu")
    encoder.add_adapter(LoRA(r=2))
    encoder.save_pretrained("saved")
    facts = json.loads((tmp_path / "saved" / "adapter_config.json").read_text())
    assert facts["base_model_name_or_path"] == str(tmp_path / "base")
    assert facts["peft_type"] == "LORA"
    assert facts["r"] == 2
    names = set(load_file(tmp_path / "saved" / "adapter_model.safetensors"))
    assert names
    assert all(name.startswith("base_model.model.") and ".lora_" in name for name in names)
    assert not list((tmp_path / "saved").glob("model*.safetensors")), (
        "the model itself is not written once more"
    )
    monkeypatch.chdir("/")
    Encoder.from_pretrained(tmp_path / "saved", device="cpu")
    # A merged adapter is saved over it, and nothing of the adapter stays.
    encoder.save_pretrained(tmp_path / "saved", merge=True)
    assert not list((tmp_path / "saved").glob("adapter*"))
    (tmp_path / "base").rename(tmp_path / "moved")
    assert torch.isfinite(
        Encoder.from_pretrained(tmp_path / "saved", device="cpu").encode(TEXTS).values
    ).all()
    with pytest.raises(CheckpointError, match="holds an adapter of"):
        encoder.save_pretrained(tmp_path / "saved")
    encoder.save_pretrained(tmp_path / "saved", verify=False)
    with pytest.raises(CheckpointError, match=r"holds an adapter of .*base.*base_model_name_or_path"):
        Encoder.from_pretrained(tmp_path / "saved", device="cpu")


def test_a_hub_name_is_kept(make: Callable[..., Encoder], tmp_path: Path) -> None:
    from sightline.models.loading import name_bases

    encoder = make("bert")
    folder = Path(encoder.backbones()[""].model.name_or_path)
    name_bases(encoder, folder, "somebody/some-model")
    encoder.add_adapter()
    encoder.save_pretrained(tmp_path / "saved", verify=False)
    facts = json.loads((tmp_path / "saved" / "adapter_config.json").read_text())
    assert facts["base_model_name_or_path"] == "somebody/some-model"


def test_a_bare_adapter_takes_the_processor_of_its_model(
    make: Callable[..., Encoder], tmp_path: Path
) -> None:
    """As peft writes it: two files."""
    encoder = make("qwen3")
    encoder.add_adapter()
    stir(encoder)
    encoder.backbones()[""].model.save_pretrained(tmp_path / "bare")
    assert {one.name for one in (tmp_path / "bare").glob("*.json")} <= {
        "adapter_config.json",
        "generation_config.json",
    }
    near(
        Encoder.from_pretrained(tmp_path / "bare", device="cpu").encode(TEXTS).values,
        encoder.encode(TEXTS).values,
    )


def test_bfloat16_models(make: Callable[..., Encoder], tiny: Callable[[str], Path], tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(tiny("bert"), device="cpu", dtype="bfloat16")
    encoder.add_adapter()
    stir(encoder)
    adapter = {name: weight for name, weight in encoder.named_parameters() if ".lora_" in name}
    assert {weight.dtype for weight in adapter.values()} == {torch.float32}
    wanted = encoder.encode(TEXTS).values
    encoder.save_pretrained(tmp_path / "saved")
    again = Encoder.from_pretrained(tmp_path / "saved", device="cpu", dtype="bfloat16")
    assert all(torch.equal(dict(again.named_parameters())[name], weight) for name, weight in adapter.items())
    assert torch.equal(again.encode(TEXTS).values, wanted)


# Composed models


def composed(make: Callable[..., Encoder]) -> Encoder:
    return Encoder.from_routes(
        {"text": make("bert"), "image": make("vit")}, fusion={"text": 1.0, "image": 1.0}
    )


@pytest.mark.parametrize("merge", [False, True], ids=["adapter", "merged"])
def test_one_route_of_a_composed_model(
    merge: bool, make: Callable[..., Encoder], pictures: list[Image.Image], tmp_path: Path
) -> None:
    encoder = composed(make)
    encoder.add_adapter(LoRA(r=2), routes=["image"])
    assert all((".sub_modules.image." in name) is (".lora_" in name) for name in trained(encoder))
    assert any(".sub_modules.text." in name for name in trained(encoder)), (
        "the other route is trained as before"
    )
    stir(encoder)
    wanted = vectors(encoder, pictures)
    encoder.save_pretrained(tmp_path / "saved", merge=merge)
    near(vectors(Encoder.from_pretrained(tmp_path / "saved", device="cpu"), pictures), wanted)


def test_a_shared_model_gets_one_adapter(make: Callable[..., Encoder], tmp_path: Path) -> None:
    one = make("bert")
    encoder = Encoder.from_routes({"query": one, "document": one})
    encoder.add_adapter(LoRA(r=2))
    stir(encoder)
    wanted = encoder.encode_query(TEXTS).values
    encoder.save_pretrained(tmp_path / "saved", merge=True)
    assert len(list((tmp_path / "saved").glob("*/model.safetensors"))) == 1
    again = Encoder.from_pretrained(tmp_path / "saved", device="cpu")
    near(again.encode_query(TEXTS).values, wanted)
    near(again.encode_document(TEXTS).values, wanted)


# Rerankers


@pytest.mark.parametrize("merge", [False, True], ids=["adapter", "merged"])
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("bert_scores", ["classifier", "bert.pooler"]),
        ("modernbert_scores", ["head", "classifier"]),
        ("qwen3_scores", ["score"]),
    ],
)
def test_the_head_of_a_reranker_is_trained_and_saved(
    name: str, head: list[str], merge: bool, tmp_path: Path
) -> None:
    reranker = Reranker.from_pretrained(getattr(tiny_rerankers, name)(tmp_path / "base"), device="cpu")
    before = reranker.predict(PAIRS)
    assert heads(reranker.backbone.model) == head
    reranker.add_adapter(LoRA(r=2))
    assert np.abs(reranker.predict(PAIRS) - before).max() <= 1e-6
    whole = {one for one in trained(reranker) if ".lora_" not in one}
    assert all(any(f".{part}." in one for one in whole) for part in head)
    stir(reranker)
    wanted = reranker.predict(PAIRS)
    assert np.abs(wanted - before).max() > 1e-3
    reranker.save_pretrained(tmp_path / "saved", merge=merge)
    again = Reranker.from_pretrained(tmp_path / "saved", device="cpu")
    assert np.abs(again.predict(PAIRS) - wanted).max() <= 1e-6
    assert trained(again) == ({one for one, _ in again.named_parameters()} if merge else trained(reranker))


def test_a_new_head_of_several_labels_comes_back(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    reranker = Reranker.from_pretrained(tiny("bert"), device="cpu", num_labels=3)
    reranker.add_adapter()
    stir(reranker)
    wanted = reranker.predict(PAIRS)
    assert wanted.shape == (len(PAIRS), 3)
    reranker.save_pretrained(tmp_path / "saved")
    assert (
        np.abs(Reranker.from_pretrained(tmp_path / "saved", device="cpu").predict(PAIRS) - wanted).max()
        <= 1e-6
    )


# What cannot be


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"parts": ("vison",)}, "no part 'vison'.*did you mean 'vision'"),
        ({"parts": "vision"}, "a list of names"),
        ({"r": 0}, "r must be at least 1"),
        ({"alpha": 0.0}, "alpha must be above 0"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1"),
        ({"parts": ("vision",), "target_modules": ("q_proj",)}, "not both"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        LoRA(**values)


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        (LoRA(("vision",)), "BertModel has no vision part with linear layers; its parts are language"),
        (
            LoRA(target_modules=("q_proj",)),
            r"BertModel has no layer named q_proj; .* named dense, key, query, value",
        ),
    ],
)
def test_layers_that_are_not_there(adapter: LoRA, words: str, make: Callable[..., Encoder]) -> None:
    encoder = make("bert")
    with pytest.raises(ConfigError, match=words):
        encoder.add_adapter(adapter)
    assert trained(encoder) == {name for name, _ in encoder.named_parameters()}, "nothing was frozen"


def test_models_that_an_adapter_cannot_belong_to(make: Callable[..., Encoder], tmp_path: Path) -> None:
    encoder = make("bert")
    encoder.add_adapter()
    with pytest.raises(ConfigError, match=r"has an adapter already.*merge=True"):
        encoder.add_adapter()
    moved = make("bert")
    for name, words in (("", "lies in no folder: save it first"), (str(tmp_path / "gone"), "gone is gone")):
        moved.backbones()[""].model.name_or_path = name
        with pytest.raises(ConfigError, match=words):
            moved.add_adapter()
    with pytest.raises(ConfigError, match=r"no route 'pages'.*its routes are text, image"):
        composed(make).add_adapter(routes=["pages"])
    with pytest.raises(ConfigError, match=r"no route 'text'.*it has no routes"):
        make("bert").add_adapter(routes=["text"])


def test_an_adapter_of_another_model_is_refused(
    make: Callable[..., Encoder], tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    encoder = make("bert")
    encoder.add_adapter()
    encoder.save_pretrained(tmp_path / "saved")
    file = tmp_path / "saved" / "adapter_config.json"
    for change, words in (
        ({"base_model_name_or_path": str(tiny("qwen3"))}, "adapter"),
        ({"base_model_name_or_path": None}, "does not say which model"),
    ):
        facts = json.loads(file.read_text())
        file.write_text(json.dumps(facts | change))
        with pytest.raises(CheckpointError, match=words):
            Encoder.from_pretrained(tmp_path / "saved", device="cpu")


def test_weights_that_are_missing_from_the_file(make: Callable[..., Encoder], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    encoder = make("bert")
    encoder.add_adapter()
    encoder.save_pretrained(tmp_path / "saved")
    file = tmp_path / "saved" / "adapter_model.safetensors"
    weights = load_file(file)
    weights.pop(sorted(weights)[0])
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"does not fit the model \(1 weights"):
        Encoder.from_pretrained(tmp_path / "saved", device="cpu")


def test_quantised_loading_says_what_is_missing(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else real(name, *rest)
    )
    settings = {"quantization_config": {"load_in_4bit": True}}
    with pytest.raises(ConfigError, match=r"4 bits needs bitsandbytes.*pip install 'sightline\[qlora\]'"):
        Encoder.from_pretrained(tiny("bert"), device="cpu", model_kwargs=settings)


@pytest.mark.parametrize("merge", [False, True], ids=["adapter", "merged"])
@pytest.mark.parametrize("name", ["qwen3_answers", "qwen3_vl_answers"])
def test_a_reranker_that_answers_with_a_word(
    name: str, merge: bool, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    reranker = Reranker.from_pretrained(getattr(tiny_answers, name)(tmp_path / "base"), device="cpu")
    pairs = [*PAIRS[:4], *([("costs of the plant", pictures[0])] if name == "qwen3_vl_answers" else [])]
    before = reranker.predict(pairs)
    reranker.add_adapter(LoRA(("language", "vision") if name == "qwen3_vl_answers" else (), r=2))
    assert all(".lora_" in one and "lm_head" not in one for one in trained(reranker))
    stir(reranker)
    wanted = reranker.predict(pairs)
    assert np.abs(wanted - before).max() > 1e-4
    reranker.save_pretrained(tmp_path / "saved", merge=merge)
    again = Reranker.from_pretrained(tmp_path / "saved", device="cpu")
    assert np.abs(again.predict(pairs) - wanted).max() <= 1e-6
