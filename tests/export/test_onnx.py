"""`sightline export --onnx`: every graph is the model, and the files beside it are enough to use it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from sightline.cli.main import app
from sightline.errors import CheckpointError, ConfigError, DataError
from sightline.export import graph, onnx_folder
from sightline.export.onnx_folder import export_onnx
from sightline.export.parity import ALLOWED
from sightline.models.adapters import LoRA
from sightline.models.encoder import Encoder
from support.fixtures import TEXTS, make_pictures
from support.st_folders import write
from support.zoo import dual, qwen, text

Build = Callable[[Path], Path]


def used(folder: Path) -> dict[str, Any]:
    """What the Python in the README defines, run as it stands from where it lies."""
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    assert code is not None
    found: dict[str, Any] = {}
    here = Path.cwd()
    os.chdir(folder)
    try:
        exec(compile(code.group(1), "README.md", "exec"), found)
    finally:
        os.chdir(here)
    return found


def with_prompt(folder: Path) -> Path:
    """BERT with a prompt for queries, a Dense head, unit length, a limit and a dimension to cut to."""
    from sightline.modules.heads import Dense, Normalize

    encoder = Encoder.from_pretrained(text.bert(folder / "bare"), device="cpu")
    torch.manual_seed(1)
    dense = Dense(encoder.embedding_dim, 24, activation=nn.Tanh())
    more = Encoder(
        [*encoder.parts, dense, Normalize()],  # type: ignore[list-item]
        prompts={"query": "how many ", "document": ""},
        truncate_dim=16,
    )
    more.save_pretrained(folder / "model", verify=False)
    return folder / "model"


def adapt(encoder: Encoder) -> None:
    """An adapter that moves vectors, which is merged into what is written."""
    before = encoder.encode(TEXTS).numpy()
    encoder.add_adapter(LoRA(r=2))
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.5)
    assert np.abs(encoder.encode(TEXTS).numpy() - before).max() > 1e-3


TEXT_MODELS: list[Build] = [with_prompt, text.modernbert, text.qwen3]


@pytest.mark.parametrize("build", TEXT_MODELS, ids=lambda build: build.__name__)
def test_a_text_encoder_and_the_lines_that_use_it(build: Build, tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(build(tmp_path / "model"), device="cpu")
    if build is with_prompt:
        adapt(encoder)
    before = encoder.encode_query(TEXTS).numpy()
    facts = export_onnx(encoder, tmp_path / "out")
    assert [one.file for one in facts.graphs] == ["onnx/model.onnx"]
    written = facts.graphs[0]
    assert written.outputs == ("last_hidden_state", "sentence_embedding")
    assert written.dimension == encoder.embedding_dim
    assert {tuple(axes) for axes in written.inputs.values()} == {("batch", "length")}
    assert written.parity.inputs == 10
    assert 2 * written.parity.shortest < written.parity.longest
    assert written.parity.difference <= ALLOWED
    assert written.parity.cosine > 0.9999
    embed = used(tmp_path / "out")["embed_texts"]
    for role, wanted in (("query", before), ("document", encoder.encode_document(TEXTS).numpy())):
        np.testing.assert_allclose(embed(TEXTS, role), wanted, atol=2e-6)
    # Another batch, other lengths: axes are free.
    np.testing.assert_allclose(embed(["x"], "query"), encoder.encode_query(["x"]).numpy(), atol=2e-6)
    # The folder is the whole model, and the one given is as it was.
    again = Encoder.from_pretrained(tmp_path / "out", device="cpu")
    np.testing.assert_allclose(again.encode_query(TEXTS).numpy(), before, atol=2e-6)
    np.testing.assert_array_equal(encoder.encode_query(TEXTS).numpy(), before)
    told = json.loads((tmp_path / "out" / "onnx" / "facts.json").read_text())
    assert told["prompts"] == {role: p for role in ("query", "document") if (p := encoder.prompt_for(role))}
    assert told["truncate_dim"] == encoder.truncate_dim


@pytest.mark.parametrize("build", [dual.clip, dual.siglip], ids=lambda build: build.__name__)
def test_both_towers_of_a_dual_encoder_by_the_command(build: Build, tmp_path: Path) -> None:
    folder = build(tmp_path / "model")
    done = CliRunner().invoke(app, ["export", str(folder), "--onnx", "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "vision_model.onnx: images, " in done.output
    told = json.loads((tmp_path / "out" / "onnx" / "facts.json").read_text())
    assert [(one["file"], one["outputs"]) for one in told["graphs"]] == [
        ("onnx/text_model.onnx", ["text_embeds"]),
        ("onnx/vision_model.onnx", ["image_embeds"]),
    ]
    assert all(one["parity"]["difference"] <= ALLOWED for one in told["graphs"])
    assert told["left_out"] == []
    # SigLIP's texts are always of the length it was trained with.
    assert told["graphs"][0]["inputs"]["input_ids"][1] == ("length" if build is dual.clip else 64)
    encoder, ours, pictures = (
        Encoder.from_pretrained(folder, device="cpu"),
        used(tmp_path / "out"),
        make_pictures(),
    )
    np.testing.assert_allclose(ours["embed_texts"](TEXTS), encoder.encode_document(TEXTS).numpy(), atol=1e-5)
    np.testing.assert_allclose(
        ours["embed_images"](pictures), encoder.encode_document(pictures).numpy(), atol=1e-5
    )


def composed(folder: Path) -> Encoder:
    """A text model and an image model in one space, as the demo's."""
    words = Encoder.from_pretrained(text.bert(folder / "words"), device="cpu")
    from support import tiny_models

    sight = Encoder.from_pretrained(tiny_models.vit(folder / "sight"), device="cpu")
    return Encoder.from_routes({"text": words, "image": sight}, fusion={"text": 0.5, "image": 0.5})


def test_a_route_of_a_composed_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = composed(tmp_path)
    with pytest.raises(ConfigError, match="--route: text, image"):
        export_onnx(encoder, tmp_path / "out")
    with pytest.raises(ConfigError, match="no route 'sound'"):
        export_onnx(encoder, tmp_path / "out", route="sound")
    pictures = make_pictures()
    export_onnx(encoder, tmp_path / "seen", route="image")
    np.testing.assert_allclose(
        used(tmp_path / "seen")["embed_images"](pictures),
        encoder.encode_document(pictures).numpy(),
        atol=1e-5,
    )
    # The text route: also in 8 bits, and with its weights beside the graph, as those of a large model lie.
    monkeypatch.setattr(graph, "INLINE_BYTES", 1_000)
    facts = export_onnx(encoder, tmp_path / "out", route="text", int8=True)
    whole, small = facts.graphs
    assert (whole.modality, whole.precision, small.precision) == ("text", "float32", "int8")
    assert (tmp_path / "out" / "onnx" / "model.onnx_data").stat().st_size > 10_000
    assert small.bytes < whole.bytes
    assert 0.9 < small.parity.cosine < 0.9999999  # measured on the other graph
    (tmp_path / "out").rename(tmp_path / "moved")
    wanted = encoder.encode_document(TEXTS).numpy()
    np.testing.assert_allclose(used(tmp_path / "moved")["embed_texts"](TEXTS), wanted, atol=2e-6)

    # What is written is what was checked: the graph of another model is not kept.
    def of_another(tower: Any, example: Any, path: Path, *, fixed_length: bool) -> None:
        shutil.copy(tmp_path / "moved" / "onnx" / "model.onnx", path)
        shutil.copy(tmp_path / "moved" / "onnx" / "model.onnx_data", path.parent)

    monkeypatch.setattr(onnx_folder, "write_graph", of_another)
    with torch.no_grad():
        next(encoder.backbones()["text"].parameters())[:, :4].mul_(2)
    with pytest.raises(CheckpointError, match=r"model\.onnx gives other vectors .* nothing was written"):
        export_onnx(encoder, tmp_path / "other", route="text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["moved", "seen", "sight", "words"]


def refused(encoder: Encoder, folder: Path, *said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        export_onnx(encoder, folder / "out")
    assert not (folder / "out").exists()
    for words in (*said, "docs/deploying.md"):
        assert words in str(caught.value)


def test_models_that_are_not_exported_are_refused_with_what_to_do(tmp_path: Path) -> None:
    seeing = Encoder.from_pretrained(qwen.qwen3_vl_embedding(tmp_path / "vl"), device="cpu")
    refused(seeing, tmp_path, "qwen3_vl", "vision-language", "sightline serve")
    late = Encoder.from_pretrained(text.bert(tmp_path / "bert"), device="cpu", multi_vector=True)
    refused(late, tmp_path, "a vector per token")
    naflex = Encoder.from_pretrained(dual.siglip2(tmp_path / "naflex"), device="cpu")
    refused(naflex, tmp_path, "number of patches of its own")
    without = text.bert(tmp_path / "without")
    write(without / "1_Pooling" / "config.json", {"embedding_dimension": 32, "include_prompt": False})
    write(
        without / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ],
    )
    pooled = Encoder.from_pretrained(without, device="cpu", prompts={"query": "ask: "})
    refused(pooled, tmp_path, "out of pooling")


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(text.bert(tmp_path / "model"), device="cpu")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("mine")
    with pytest.raises(DataError, match="name a new folder"):
        export_onnx(encoder, tmp_path / "out")


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder.from_pretrained(text.bert(tmp_path / "model"), device="cpu")
    monkeypatch.setattr(onnx_folder, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(ConfigError, match=r"needs onnxscript: pip install 'sightline\[onnx\]'"):
        export_onnx(encoder, tmp_path / "out")
