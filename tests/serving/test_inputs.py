"""What clients send, read within limits: no file, no URL is opened for it; token ids of another tokenizer are told."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL.Image import Image

from sightline.errors import InputError
from sightline.inputs.parse import parse
from sightline.models.encoder import Encoder
from sightline.serving.errors import ApiError
from sightline.serving.inputs import Reader, check_count
from sightline.serving.settings import Settings
from sightline.serving.token_ids import decoded
from sightline.types import Part


def png(picture: Image) -> bytes:
    target = io.BytesIO()
    picture.save(target, "PNG")
    return target.getvalue()


def uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def test_an_image_is_what_it_is_elsewhere(pictures: list[Image]) -> None:
    content = png(pictures[0])
    item = Reader(Settings()).item([Reader(Settings()).image(uri(content), "input")], 0)
    assert item.key == parse(content).key
    assert item.source == "input 0"
    assert Reader(Settings()).upload(content, "file") == Part("image", content)


def test_texts_are_never_anything_else(tmp_path: Path) -> None:
    file = tmp_path / "secret.png"
    file.write_bytes(b"x")
    assert Reader(Settings()).text(str(file), "input") == Part("text", str(file))
    assert Reader(Settings()).text("half \ud83d", "input") == Part("text", "half \ufffd")


@pytest.mark.parametrize(
    "value",
    [
        "http://127.0.0.1/x.png",
        "https://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "/etc/passwd",
        "data:text/html;base64,PGI+",
        "data:image/png;base64,!!!!",
        "data:image/png;base64,",
        "data:image/png;base64,AAAA",
    ],
)
def test_what_is_no_image_is_refused(value: str) -> None:
    with pytest.raises(ApiError) as refused:
        Reader(Settings()).image(value, "input")
    assert refused.value.status_code == 400


def test_limits(pictures: list[Image]) -> None:
    content = png(pictures[0])  # 64 x 64
    reader = Reader(Settings(max_images=1, max_pixels=4_096, max_characters=3))
    reader.upload(content, "file")
    assert reader.text("abc", "input").value == "abc"
    for call in (
        lambda: reader.upload(content, "file"),
        lambda: reader.text("abcd", "input"),
        lambda: Reader(Settings(max_pixels=4_095)).upload(content, "file"),
        lambda: check_count(3, Settings(max_inputs=2), "input"),
    ):
        with pytest.raises(ApiError) as refused:
            call()
        assert refused.value.status_code == 413
    with pytest.raises(ApiError, match="input is empty"):
        check_count(0, Settings(), "input")


@pytest.mark.parametrize("name", ["bert", "qwen3"])
def test_token_ids_become_their_text(name: str, tiny_encoder: Callable[[str], Encoder]) -> None:
    encoder = tiny_encoder(name)
    tokenizer = encoder.backbones()[""].processor.tokenizer
    assert tokenizer is not None
    text = "the annual report shows a table"
    assert decoded(encoder, tokenizer(text)["input_ids"]).strip() == text
    assert decoded(encoder, []) == ""


def test_token_ids_of_another_tokenizer_are_told(tiny_encoder: Callable[[str], Encoder]) -> None:
    with pytest.raises(InputError, match="of another tokenizer"):
        decoded(tiny_encoder("bert"), [100_000])
    with pytest.raises(InputError, match="check_embedding_ctx_length"):
        decoded(tiny_encoder("bert"), list(range(150, 200)))
    with pytest.raises(InputError, match="no tokenizer"):
        decoded(tiny_encoder("vit"), [1])
