"""Values of every kind become items, and what cannot is refused by name."""

from __future__ import annotations

import base64
import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.errors import InputError, MediaError
from sightline.inputs.parse import parse
from sightline.inputs.sniff import modality_of_bytes, modality_of_name
from sightline.types import Item


def png_bytes(colour: tuple[int, ...] = (10, 20, 30), size: tuple[int, int] = (4, 3)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def kinds(item: Item) -> list[tuple[str, type]]:
    return [(part.modality, type(part.value)) for part in item.parts]


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "page.png"
    path.write_bytes(png_bytes())
    return path


@pytest.mark.parametrize(
    "text",
    [
        *("hello", "", "what is logo.png", "see https://x.org/a.png", "https://x.org/page", "README"),
        *("data:image/png is a kind of URI", "data:text/plain,hi", "line\n/x.png", "https://[[bad]]/a.png"),
        "https://www.youtube.com/watch?v=1",
    ],
)
def test_plain_strings_are_text(text: str) -> None:
    item = parse(text)
    assert item.modality == "text"
    assert item.parts[0].value == text


def test_references_stay_references(png: Path) -> None:
    assert kinds(parse(png)) == [("image", type(png))]
    assert kinds(parse(str(png))) == [("image", type(png))]
    assert kinds(parse("HTTPS://x.org/a.PNG?size=1")) == [("image", str)]
    assert kinds(parse("https://x.org/a.wav")) == [("audio", str)]
    assert kinds(parse("https://x.org/a.mp4")) == [("video", str)]
    assert kinds(parse(png.read_bytes())) == [("image", bytes)]
    assert kinds(parse(bytearray(png.read_bytes()))) == [("image", bytes)]
    uri = "data:image/png;base64," + base64.b64encode(png.read_bytes()).decode()
    assert kinds(parse(uri)) == [("image", bytes)]
    assert parse(parse(png)) == parse(png)
    item = parse(png)
    assert parse(item) is item
    assert item.source == str(png)
    assert parse(png, source="row 1").source == "row 1"


def test_parsing_does_not_decode(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(png_bytes()[:40])
    assert parse(broken).modality == "image"


def test_equal_content_has_equal_keys(png: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy of it.png"
    copy.write_bytes(png.read_bytes())
    uri = "data:image/png;base64," + base64.b64encode(png.read_bytes()).decode()
    keys = {parse(value).key for value in (png, copy, str(png), png.read_bytes(), uri, {"image": png})}
    assert len(keys) == 1
    assert len(keys.pop()) == 32
    assert parse("a").key == parse({"text": "a"}).key
    image = Image.open(png)
    assert parse(image).key == parse(image.copy()).key


def test_different_content_has_different_keys(png: Path) -> None:
    red = Image.new("RGB", (4, 3), (255, 0, 0))
    turned = red.copy()
    turned.getexif()[0x0112] = 6
    palette = Image.new("P", (4, 3))
    palette.putpalette([0, 0, 0])
    other_palette = Image.new("P", (4, 3))
    other_palette.putpalette([9, 9, 9])
    wave = np.zeros(8, np.float32)
    values = [
        *("a", "b", red, red.resize((3, 4)), red.convert("L"), turned, palette, other_palette),
        *(wave, wave.astype(np.float64), np.zeros(9, np.float32), np.zeros((2, 4), np.float32)),
        *({"array": wave, "sampling_rate": 8000}, {"array": wave, "sampling_rate": 16000}),
        *({"text": "a", "image": png}, {"image": png, "text": "a"}, {"text": ["a", "b"]}, {"text": "ab"}),
        *({"role": "user", "content": "a"}, {"role": "system", "content": "a"}),
        *("https://x.org/a.png", {"text": "https://x.org/a.png"}, {"image": [png, png]}, png),
        *({"audio": b"RIFF"}, {"video": b"RIFF"}),
    ]
    keys = [parse(value).key for value in values]
    assert len(set(keys)) == len(values)


def test_a_rewritten_file_has_a_new_key(png: Path) -> None:
    before = parse(png).key
    png.write_bytes(png_bytes((1, 1, 1), (40, 30)))
    assert parse(png).key != before


def test_mistyped_paths_are_refused_instead_of_embedded(tmp_path: Path) -> None:
    for text in ("missing.png", "./my page.png", str(tmp_path / "my scans" / "page 1.jpg"), "~/a b.png"):
        with pytest.raises(MediaError, match="no such file") as caught:
            parse(text, source="row 3, column 'image'")
        assert "row 3, column 'image'" in str(caught.value)
        assert text in str(caught.value)
    with pytest.raises(InputError, match="http and https"):
        parse("file:///etc/a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(MediaError, match="folder"):
        parse(str(tmp_path / "folder.png"))
    assert parse("missing.png", modalities=("text",)).modality == "text"
    assert parse({"text": "missing.png"}).modality == "text"


def test_unsupported_media_strings_are_text_but_paths_are_refused(png: Path, tmp_path: Path) -> None:
    uri = "data:image/png;base64," + base64.b64encode(png.read_bytes()).decode()
    for text in (str(png), "https://x.org/a.png", uri):
        assert parse(text, modalities=("text",)).modality == "text"
        assert parse(text, modalities=("text", ("image", "text"), "message")).modality == "image"
    for value in (png, png.read_bytes(), Image.open(png), {"image": str(png)}):
        with pytest.raises(InputError, match="reads text, not image"):
            parse(value, modalities=("text",))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "missing"),
        (float("nan"), "missing"),
        (np.float32("nan"), "missing"),
        ([], "empty list"),
        ({}, "empty dict"),
        ((), "empty tuple"),
        (3, "int"),
        (["a", "b"], "one by one"),
        (b"", "empty"),
        (b"no media", "no image, audio or video"),
        ({"picture": 1}, "unknown key 'picture'; accepted are 'text', 'image', 'audio', 'video'"),
        ({"audio": np.zeros(4), "sampling_rate": 1}, '{"audio": {"array"'),
        ({"array": np.zeros(4)}, "sampling_rate"),
        ({"array": np.zeros(4), "sampling_rate": 0}, "sampling_rate"),
        ({"array": np.zeros(4), "sampling_rate": None}, "sampling_rate"),
        ({"bytes": None, "path": None}, "none of"),
        ({"image": None, "text": None}, "every modality is missing"),
        ({"image": []}, "empty list"),
        ({"text": 3}, "must be a str"),
        ({"image": np.zeros((2, 2, 2, 3))}, "'image' was given a value that is video"),
        (np.zeros((0, 3)), "empty"),
        (np.zeros((2, 2, 2, 2, 2)), "dimensions"),
        (np.array(["a"]), "numbers"),
        (np.zeros((480, 640)), '{"image": array}'),
        ("data:image/png;base64,!!!!", "base64"),
        ("data:image/png,", "empty"),
        (Path("nowhere.png"), "no such file"),
        (Path(__file__), "no image, audio or video"),
        (Path(__file__).parent, "folder"),
    ],
)
def test_refusals_say_what_is_wrong(value: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(value, source="row 12, column 'image'")
    assert message in str(caught.value)
    assert "row 12, column 'image'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_arrays_follow_the_dimension_rule() -> None:
    assert parse(np.zeros(8)).modality == "audio"
    assert parse(np.zeros((2, 800))).modality == "audio"
    assert parse(np.zeros((4, 5, 3))).modality == "image"
    assert parse({"image": np.zeros((480, 640))}).modality == "image"
    assert parse(np.zeros((2, 4, 5, 3))).modality == "video"
    assert parse({"array": np.zeros((2, 4, 5, 3)), "video_metadata": {"fps": 2}}).modality == "video"
    assert parse({"array": [0.0, 0.5], "sampling_rate": 16000.0}).parts[0].value["sampling_rate"] == 16000


def test_torch_tensors_become_arrays() -> None:
    torch = pytest.importorskip("torch")
    item = parse(torch.zeros(3, 4, 5, dtype=torch.bfloat16, requires_grad=True))
    assert item.modality == "image"
    assert isinstance(item.parts[0].value, np.ndarray)


def test_datasets_dicts(png: Path, shared_wav: Path) -> None:
    assert kinds(parse({"bytes": png.read_bytes(), "path": None})) == [("image", bytes)]
    assert kinds(parse({"bytes": None, "path": str(png)})) == [("image", type(png))]
    assert kinds(parse({"path": "https://x.org/a.jpg", "bytes": None})) == [("image", str)]
    assert kinds(parse({"bytes": shared_wav.read_bytes(), "path": "x"})) == [("audio", bytes)]
    audio = {"array": np.zeros(9), "sampling_rate": 8000, "path": "x.wav"}
    assert kinds(parse(audio)) == [("audio", dict)]
    assert kinds(parse({"path": str(shared_wav), "sampling_rate": 8000})) == [("audio", type(shared_wav))]


@pytest.fixture
def shared_wav(tmp_path: Path) -> Path:
    import wave

    path = tmp_path / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\1" * 800)
    return path


def test_modality_dicts_keep_order_and_lists(png: Path) -> None:
    item = parse({"image": [png, str(png)], "text": "caption"})
    assert [part.modality for part in item.parts] == ["image", "image", "text"]
    assert item.modality == ("image", "text")
    assert not item.is_message
    assert parse({"text": "a", "image": None}).modality == "text"
    frames = [Image.new("RGB", (4, 4))] * 3
    assert kinds(parse({"video": frames})) == [("video", list)]
    assert kinds(parse({"video": [frames, frames]})) == [("video", list)] * 2
    with pytest.raises(MediaError, match="no such file"):
        parse({"image": "a missing one.png"})


def test_chat_messages_keep_roles(png: Path) -> None:
    item = parse(
        [
            {"role": "system", "content": "Be brief. logo.png"},
            {
                "role": "user",
                "content": [
                    "look",
                    {"type": "text", "text": "at", "image": None},
                    {"type": "image", "image": png},
                    {"type": "image", "url": "https://x.org/no-extension"},
                    {"type": "image", "path": str(png)},
                    {"type": "image_url", "image_url": {"url": "https://x.org/a.png"}},
                    {"type": "image", "base64": base64.b64encode(png.read_bytes()).decode()},
                ],
            },
        ]
    )
    assert item.is_message
    assert item.modality == "message"
    assert [part.role for part in item.parts] == ["system"] + ["user"] * 7
    assert [part.modality for part in item.parts] == ["text"] * 3 + ["image"] * 5
    assert parse({"role": "user", "content": "hi"}).parts[0].role == "user"


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "user", "content": [{"type": "pdf", "pdf": "x"}]}], "unknown type 'pdf'"),
        ([{"role": "user", "content": [{"type": "image"}]}], "without 'image' or 'url'"),
        ([{"role": "user", "content": None}], "no content"),
        ([{"role": "user", "content": []}], "no content"),
        ([{"role": "user", "content": "a"}, {"content": "b"}], "message 1"),
        ({"role": 3, "content": "a"}, "role"),
        ({"role": "user", "content": [3]}, "int"),
    ],
)
def test_bad_messages_are_refused(messages: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(messages)


def test_content_is_told_by_its_signature() -> None:
    for mode, kind in (
        ("PNG", "RGB"),
        ("JPEG", "RGB"),
        ("GIF", "P"),
        ("BMP", "RGB"),
        ("TIFF", "RGB"),
        ("WEBP", "RGB"),
    ):
        buffer = io.BytesIO()
        Image.new(kind, (4, 4)).save(buffer, mode)
        assert modality_of_bytes(buffer.getvalue()) == "image", mode
    assert modality_of_bytes(b"BM is prose, not a bitmap, as BMW is a car") is None
    assert modality_of_bytes(b"") is None
    assert modality_of_bytes(b"\xff\xfe" + "UTF-16 text".encode("utf-16-le")) is None
    assert modality_of_name("https://x.org/a.png?b=c.wav") == "image"
    assert modality_of_name("notes.txt") is None


def test_inputs_import_neither_torch_nor_av() -> None:
    code = (
        "import sys; from sightline.inputs import parse, media, fetch; parse.parse('a');"
        "bad = {'torch', 'av', 'transformers'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
