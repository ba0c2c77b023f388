"""Encoding: order, duplicates, inputs of every form, prompts, truncation, types, errors."""

from __future__ import annotations

import base64
import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.errors import ConfigError, InputError, MediaError
from sightline.inputs.parse import parse
from sightline.models.encoder import Encoder
from sightline.modules.heads import Dense, Normalize
from sightline.modules.pooling import Pooling
from sightline.types import Embeddings
from support.fixtures import TEXTS, many_texts

TinyEncoder = Callable[[str], Encoder]


@pytest.fixture(scope="session")
def prompted(tiny_encoder: TinyEncoder) -> Encoder:
    prompts = {"query": "find: ", "passage": "page: ", "other": "other: "}
    return Encoder(list(tiny_encoder("bert").parts), prompts=prompts, default_prompt_name="other").eval()  # type: ignore[arg-type]


def alone(encoder: Encoder, values: list[Any], **options: Any) -> torch.Tensor:
    return torch.cat([encoder.encode(value, **options).values for value in values])


def test_the_order_of_mixed_lengths_is_kept(tiny_encoder: TinyEncoder) -> None:
    encoder, texts = tiny_encoder("bert"), many_texts(60)
    assert torch.allclose(encoder.encode(texts).values, alone(encoder, texts), atol=1e-5)


def test_text_images_and_both_in_one_call(tiny_encoder: TinyEncoder, pictures: list[Image.Image]) -> None:
    encoder = tiny_encoder("qwen3_vl")
    values = [TEXTS[1], pictures[2], {"text": TEXTS[0], "image": pictures[0]}, pictures[1], TEXTS[3],
              {"image": pictures[3], "text": TEXTS[2]}]  # fmt: skip
    assert torch.allclose(encoder.encode(values).values, alone(encoder, values), atol=1e-5)
    towers = tiny_encoder("clip")
    values = [TEXTS[0], pictures[0], TEXTS[1], pictures[1]]
    assert torch.allclose(towers.encode(values).values, alone(towers, values), atol=1e-5)


def test_equal_inputs_are_embedded_once(
    tiny_encoder: TinyEncoder, pictures: list[Image.Image], tmp_path: Path
) -> None:
    encoder = copy.copy(tiny_encoder("qwen3_vl"))
    rows = []
    handle = encoder.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    pictures[0].save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    values = ["a", "b", "a", "a", tmp_path / "a.png", tmp_path / "b.png", "b"]
    vectors = encoder.encode(values).values
    handle.remove()
    assert sum(rows) == 3
    for first, second in ((0, 2), (0, 3), (1, 6), (4, 5)):
        assert torch.equal(vectors[first], vectors[second])
    assert not torch.allclose(vectors[0], vectors[1])


def test_one_input_is_a_sequence_of_one(tiny_encoder: TinyEncoder, pictures: list[Image.Image]) -> None:
    encoder = tiny_encoder("qwen3_vl")
    message = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    page = {"text": "a", "image": pictures[0]}
    array = np.asarray(pictures[0])
    for value in ("hello", pictures[0], page, message, array, parse("hello")):
        found = encoder.encode(value)
        assert isinstance(found, Embeddings)
        assert found.shape == (1, 64)
        assert torch.allclose(found.values, encoder.encode([value]).values, atol=1e-6)
    pair = encoder.encode([message, [{"role": "user", "content": "other"}]])
    assert torch.allclose(pair.values[:1], encoder.encode(message).values, atol=1e-5)
    # One user message is what a bare text becomes.
    assert torch.allclose(encoder.encode(message).values, encoder.encode("hello").values, atol=1e-6)


def test_iterables_of_inputs(tiny_encoder: TinyEncoder) -> None:
    import datasets

    encoder = tiny_encoder("bert")
    wanted = encoder.encode(TEXTS).values
    column = datasets.Dataset.from_dict({"text": TEXTS})["text"]
    for values in (
        tuple(TEXTS),
        iter(TEXTS),
        (text for text in TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, object),
        column,
    ):
        assert torch.equal(encoder.encode(values).values, wanted)


@pytest.mark.parametrize("empty", [[], (), iter(())])
def test_nothing_to_encode(empty: Any, tiny_encoder: TinyEncoder) -> None:
    assert tiny_encoder("bert").encode(empty).shape == (0, 32)
    assert tiny_encoder("bert").encode([], truncate_dim=5).shape == (0, 5)


def test_an_image_in_every_form(
    tiny_encoder: TinyEncoder, pictures: list[Image.Image], tmp_path: Path
) -> None:
    picture = pictures[1]
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    (tmp_path / "page.png").write_bytes(buffer.getvalue())
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    forms = [picture, tmp_path / "page.png", str(tmp_path / "page.png"), buffer.getvalue(), uri, np.asarray(picture),
             torch.from_numpy(np.asarray(picture).copy()), {"image": picture}, picture.convert("RGBA"),
             {"bytes": buffer.getvalue(), "path": None}]  # fmt: skip
    for name in ("vit", "clip", "qwen3_vl"):
        vectors = tiny_encoder(name).encode(forms).values
        assert torch.allclose(vectors, vectors[:1].expand_as(vectors), atol=1e-5)


def test_prompts(prompted: Encoder, tiny_encoder: TinyEncoder) -> None:
    bare = tiny_encoder("bert")

    def with_prefix(prefix: str) -> torch.Tensor:
        return bare.encode([prefix + text for text in TEXTS]).values

    for found, prefix in (
        (prompted.encode_query(TEXTS), "find: "),
        (prompted.encode(TEXTS, role="query"), "find: "),
        (prompted.encode_document(TEXTS), "page: "),
        (prompted.encode(TEXTS), "other: "),
        (prompted.encode(TEXTS, prompt_name="passage"), "page: "),
        (prompted.encode_query(TEXTS, prompt_name="passage"), "page: "),
        (prompted.encode(TEXTS, prompt="mine: "), "mine: "),
        (prompted.encode_query(TEXTS, prompt="mine: ", prompt_name="passage"), "mine: "),
        (prompted.encode_query(TEXTS, prompt=""), ""),
    ):
        assert torch.equal(found.values, with_prefix(prefix))
    with pytest.raises(
        ConfigError, match=r"no prompt named 'missing'; the model has \['query', 'passage', 'other'\]"
    ):
        prompted.encode("a", prompt_name="missing")
    with pytest.raises(ConfigError, match="default_prompt_name 'missing' is not among the prompts"):
        Encoder(list(bare.parts), default_prompt_name="missing")  # type: ignore[arg-type]


def test_a_prompt_left_out_of_the_pooling(tiny_encoder: TinyEncoder) -> None:
    backbone = tiny_encoder("bert").parts[0]
    encoder = Encoder([backbone, Pooling(32, "mean", include_prompt=False)]).eval()  # type: ignore[list-item]
    tokenizer = tiny_encoder("bert").backbones()[""].processor.tokenizer
    tokens = Encoder([backbone]).eval().encode("find: costs")  # type: ignore[list-item]
    length = len(tokenizer("find: ")["input_ids"]) - 1
    wanted = tokens.values[0, length:].mean(0)
    both = encoder.encode(["costs", TEXTS[1]], prompt="find: ").values
    assert torch.allclose(both[0], wanted, atol=1e-5)


def test_truncation(tiny_encoder: TinyEncoder) -> None:
    encoder = Encoder(list(tiny_encoder("bert").parts), truncate_dim=16).eval()  # type: ignore[arg-type]
    whole = tiny_encoder("bert").encode(TEXTS).values
    assert torch.equal(encoder.encode(TEXTS).values, whole[:, :16])
    assert torch.equal(encoder.encode(TEXTS, truncate_dim=4).values, whole[:, :4])
    assert torch.equal(encoder.encode(TEXTS, truncate_dim=32).values, whole)
    short = encoder.encode(TEXTS, truncate_dim=4, normalize=True).values
    assert torch.allclose(short, torch.nn.functional.normalize(whole[:, :4], dim=-1))
    for dim in (33, -1):
        with pytest.raises(InputError, match=f"truncate_dim must be between 1 and 32, not {dim}"):
            encoder.encode("a", truncate_dim=dim)


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_similarity(name: str, tiny_encoder: TinyEncoder) -> None:
    from sentence_transformers.util import SimilarityFunction

    encoder = Encoder(list(tiny_encoder("bert").parts), similarity_fn_name=name).eval()  # type: ignore[arg-type]
    first, second = encoder.encode(TEXTS[:2]), encoder.encode(TEXTS)
    found = encoder.similarity(first, second)
    assert found.shape == (2, len(TEXTS))
    wanted = SimilarityFunction.to_similarity_fn(name)(first.values, second.values)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.equal(found, encoder.similarity(first.values, second.values))
    assert found.argmax(1).tolist() == [0, 1] or name == "dot"


def test_an_unknown_similarity_is_refused(tiny_encoder: TinyEncoder) -> None:
    with pytest.raises(
        ConfigError, match="unknown similarity 'jaccard'; known: cosine, dot, euclidean, manhattan"
    ):
        Encoder(list(tiny_encoder("bert").parts), similarity_fn_name="jaccard")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "modalities", "together"),
    [
        ("bert", ("text",), False),
        ("qwen3", ("text",), False),
        ("vit", ("image",), False),
        ("clip", ("text", "image"), False),
        ("qwen3_vl", ("text", "image", "video", "message"), True),
    ],
)
def test_modalities_are_found(
    name: str, modalities: tuple[str, ...], together: bool, tiny_encoder: TinyEncoder
) -> None:
    encoder = tiny_encoder(name)
    assert encoder.modalities == modalities
    for one in ("text", "image", "audio", "video", "message"):
        assert encoder.supports(one) == (one in modalities)
    assert encoder.supports(["text", "image"]) == together
    assert not encoder.supports(["text", "audio"])
    assert not encoder.supports("smell")


def test_bfloat16(
    tiny: Callable[[str], Path], tiny_encoder: TinyEncoder, pictures: list[Image.Image]
) -> None:
    for name, values in (
        ("bert", TEXTS),
        ("qwen3_vl", [*TEXTS, *pictures]),
        ("clip", [*TEXTS[:2], *pictures]),
    ):
        encoder = Encoder.from_pretrained(tiny(name), device="cpu", dtype="bfloat16")
        assert encoder.dtype == torch.bfloat16
        vectors = encoder.encode(values)
        assert vectors.values.dtype == torch.float32
        near = torch.nn.functional.cosine_similarity(vectors.values, tiny_encoder(name).encode(values).values)
        assert near.min() > 0.99
    given = Encoder.from_pretrained(tiny("bert"), device="cpu", model_kwargs={"dtype": "float16"})
    assert given.dtype == torch.float16


def test_an_error_names_the_input(
    tiny_encoder: TinyEncoder, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    broken = tmp_path / "broken.png"
    pictures[0].save(broken)
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(MediaError, match=r"input 2.*|.*broken\.png") as caught:
        tiny_encoder("vit").encode([pictures[0], pictures[1], broken])
    assert "input 2" in str(caught.value)
    with pytest.raises(InputError, match=r"input 1.*missing"):
        tiny_encoder("bert").encode(["a", None])
    with pytest.raises(InputError, match=r"input 1.*not image"):
        tiny_encoder("bert").encode(["a", pictures[0]])
    with pytest.raises(InputError, match="input 0"):
        tiny_encoder("bert").encode([["a", "b"]])


@pytest.mark.parametrize("training", [True, False])
def test_training_mode_is_restored(
    training: bool, tiny: Callable[[str], Path], pictures: list[Image.Image]
) -> None:
    encoder = Encoder.from_pretrained(tiny("bert"), device="cpu").train(training)
    first = encoder.encode(TEXTS).values
    assert torch.equal(first, encoder.encode(TEXTS).values)  # no dropout
    with pytest.raises(InputError):
        encoder.encode([pictures[0]])
    assert all(part.training == training for part in encoder.modules())
    assert not first.requires_grad
    torch.nn.Linear(32, 1)(first).sum().backward()  # and no inference tensors, which could not enter a graph


@pytest.mark.parametrize("name", ["bert", "qwen3_vl"])
def test_vectors_do_not_depend_on_the_budget(
    name: str, tiny_encoder: TinyEncoder, pictures: list[Image.Image]
) -> None:
    encoder = tiny_encoder(name)
    values: list[Any] = [*many_texts(12), *(pictures if name == "qwen3_vl" else [])]
    wanted = encoder.encode(values).values
    for budget in (1, 40, 200, 1_000_000):
        assert torch.allclose(encoder.encode(values, token_budget=budget).values, wanted, atol=1e-5)
    for budget in (0, -5):
        with pytest.raises(ConfigError, match="token_budget"):
            encoder.encode(values, token_budget=budget)


def test_more_inputs_than_are_prepared_together(
    tiny_encoder: TinyEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sightline.models import encoding_windows

    monkeypatch.setattr(encoding_windows, "TEXT_WINDOW", 7)
    monkeypatch.setattr(encoding_windows, "MEDIA_WINDOW", 2)
    encoder = tiny_encoder("clip")
    pictures = [Image.new("RGB", (64, 64), (10 * n, 0, 0)) for n in range(5)]
    values = [value for pair in zip(many_texts(20), pictures * 4, strict=True) for value in pair]
    assert torch.allclose(encoder.encode(values).values, alone(encoder, values), atol=1e-5)


def test_progress_is_shown_when_asked(tiny_encoder: TinyEncoder, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = tiny_encoder("bert")
    encoder.encode(TEXTS, show_progress=True)
    shown = capsys.readouterr()
    assert "Encoding" in shown.err
    assert f"{len(TEXTS)}/{len(TEXTS)}" in shown.err
    assert shown.out == ""
    encoder.encode(many_texts(300))  # not a terminal
    encoder.encode(TEXTS, show_progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["bert", "qwen3", "vit"])
def test_a_model_without_pooling_gives_a_vector_per_token(
    name: str, tiny_encoder: TinyEncoder, pictures: list[Image.Image]
) -> None:
    encoder = Encoder([tiny_encoder(name).parts[0], Normalize(input_name="token_embeddings")]).eval()  # type: ignore[list-item]
    values: list[Any] = pictures if name == "vit" else TEXTS
    found = encoder.encode(values)
    assert found.mask is not None
    assert found.shape[0] == len(values)
    assert found.shape[2] == encoder.embedding_dim == 32
    for row, value in enumerate(values):
        single = encoder.encode(value)
        assert single.mask is not None
        assert torch.allclose(found.values[row][found.mask[row]], single.values[0][single.mask[0]], atol=1e-5)
    short = encoder.encode(values, truncate_dim=8)
    assert torch.equal(short.values, found.values[..., :8])


def test_what_workers_get_is_light(tiny_encoder: TinyEncoder) -> None:
    encoder = tiny_encoder("qwen3_vl")
    preprocess, collate = pickle.loads(pickle.dumps((encoder.preprocessor, encoder.collate)))
    assert len(pickle.dumps(encoder.collate)) < 1_000
    made = [preprocess(parse(text)) for text in TEXTS]
    with torch.inference_mode():
        vectors = encoder(collate(made, range(len(made)))).values
    assert torch.allclose(vectors, encoder.encode(TEXTS).values, atol=1e-5)


def test_concurrent_calls_do_not_disturb_each_other(tiny_encoder: TinyEncoder) -> None:
    from concurrent.futures import ThreadPoolExecutor

    encoder = tiny_encoder("bert")
    batches = [[f"{text} {'and costs ' * (n * 9 % 80)}" for text in TEXTS] for n in range(12)]
    wanted = [encoder.encode(batch, prompt="find: ").values for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        # Every call measures a prompt of its own length while others cut long texts.
        pool.map(lambda n: encoder.encode("a", prompt="word " * n), range(12))
        found = list(pool.map(lambda batch: encoder.encode(batch, prompt="find: ").values, batches))
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_an_encoder_starts_with_a_backbone() -> None:
    for parts in ([], [Dense(2, 2)]):
        with pytest.raises(ConfigError, match="starts with a Backbone or a Router"):
            Encoder(parts)  # type: ignore[arg-type]


def test_vectors_of_different_lengths_are_not_compared(tiny_encoder: TinyEncoder) -> None:
    encoder = tiny_encoder("bert")
    vectors = encoder.encode(["one", "two"])
    with pytest.raises(InputError, match="32 and of 8 dimensions"):
        encoder.similarity(vectors, vectors.truncate(8))
