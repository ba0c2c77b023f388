"""Encoding at length: streams, files, repeated inputs across windows, bfloat16, progress, memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.errors import ConfigError, InputError
from sightline.models import encoding_windows
from sightline.models.encoder import Encoder
from sightline.models.encoding_progress import EncodingProgress
from sightline.modules.heads import Dense, Normalize
from sightline.modules.packing import Packing
from support.fixtures import TEXTS, many_texts

TinyEncoder = Callable[[str], Encoder]

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding_windows, "TEXT_WINDOW", 10)
    monkeypatch.setattr(encoding_windows, "MEDIA_WINDOW", 3)


@pytest.mark.usefixtures("small_windows")
def test_a_stream_gives_what_a_list_gives(
    tiny_encoder: TinyEncoder, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    encoder = tiny_encoder("qwen3_vl")
    values = [*many_texts(23), *pictures, *many_texts(5, seed=1), {"text": "a", "image": pictures[0]}]
    wanted = torch.cat([encoder.encode(value).values for value in values])
    found = [
        encoder.encode(values),
        encoder.encode(value for value in values),
        encoder.encode(values, output=tmp_path / "a" / "list.npy"),
        encoder.encode(iter(values), output=str(tmp_path / "stream.npy")),
    ]
    for one in found:
        assert torch.allclose(one.values, wanted, atol=1e-5)
    on_disk = np.load(tmp_path / "stream.npy")
    assert on_disk.dtype == np.float32
    assert np.array_equal(on_disk, found[3].numpy())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "list.npy", "stream.npy"]


@pytest.mark.usefixtures("small_windows")
def test_an_input_is_read_when_its_window_comes(tiny_encoder: TinyEncoder) -> None:
    encoder, read, embedded = tiny_encoder("bert"), [], []
    handle = encoder.register_forward_hook(lambda *_: embedded.append(len(read)))

    def stream() -> Iterator[str]:
        for text in many_texts(60):
            read.append(text)
            yield text

    assert len(encoder.encode(stream())) == 60
    handle.remove()
    assert embedded[0] <= 20  # one window at work, one prepared


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("kind", ["memory", "stream", "file", "token vectors"])
def test_a_repeated_input_is_embedded_once_across_windows(
    kind: str, tiny_encoder: TinyEncoder, tmp_path: Path
) -> None:
    encoder = tiny_encoder("bert")
    if kind == "token vectors":
        encoder = Encoder([encoder.parts[0], Normalize(input_name="token_embeddings")]).eval()  # type: ignore[list-item]
    rows = []
    handle = encoder.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    some = many_texts(12)
    values = [*some, *some[::-1], *["same"] * 15, some[3]]
    options: dict[str, Any] = {"output": tmp_path / "v.npy"} if kind == "file" else {}
    found = encoder.encode(iter(values) if kind == "stream" else values, **options)
    handle.remove()
    assert sum(rows) == 13
    assert len(found) == len(values)
    wanted = encoder.encode([*some, "same"])
    for row, value in enumerate(values):
        number = [*some, "same"].index(value)
        one, other = found[row].values[0], wanted[number].values[0]
        if found.mask is not None and wanted.mask is not None:
            one, other = one[found.mask[row]], other[wanted.mask[number]]
        assert torch.allclose(one, other, atol=1e-6)


def test_few_contents_are_remembered(tiny_encoder: TinyEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding_windows, "TEXT_WINDOW", 4)
    monkeypatch.setattr(encoding_windows, "REMEMBERED", 2)
    values = [*(some := many_texts(9)), *some]
    encoder = tiny_encoder("bert")
    assert torch.allclose(encoder.encode(values).values[9:], encoder.encode(some).values, atol=1e-6)


@pytest.mark.usefixtures("small_windows")
def test_a_failure_leaves_no_file_and_the_old_one_whole(tiny_encoder: TinyEncoder, tmp_path: Path) -> None:
    encoder, path = tiny_encoder("bert"), tmp_path / "vectors.npy"
    encoder.encode(TEXTS, output=path)
    before = path.read_bytes()

    def stream() -> Iterator[Any]:
        yield from many_texts(35)
        yield None

    with pytest.raises(InputError, match=r"input 35.*missing"):
        encoder.encode(stream(), output=path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["vectors.npy"]
    # A gap in a list is found before anything is embedded.
    handle = encoder.register_forward_pre_hook(lambda *_: pytest.fail("embedded"))
    for gap in (None, float("nan")):
        with pytest.raises(InputError, match=r"input 35.*missing"):
            encoder.encode([*many_texts(35), gap])
    handle.remove()


def test_outputs_that_cannot_be(tiny_encoder: TinyEncoder, tmp_path: Path) -> None:
    encoder = tiny_encoder("bert")
    with pytest.raises(ConfigError, match=r"vectors\.bin.*\.npy"):
        encoder.encode(TEXTS, output=tmp_path / "vectors.bin")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        encoder.encode(TEXTS, output=tmp_path / "file" / "vectors.npy")
    per_token = Encoder([encoder.parts[0], Normalize(input_name="token_embeddings")]).eval()  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="a vector per token"):
        per_token.encode(TEXTS, output=tmp_path / "vectors.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_of_no_vectors_and_of_normalised_ones(tiny_encoder: TinyEncoder, tmp_path: Path) -> None:
    encoder = tiny_encoder("bert")
    assert encoder.encode(iter(()), output=tmp_path / "none.npy").shape == (0, 32)
    assert np.load(tmp_path / "none.npy").shape == (0, 32)
    encoder.encode(TEXTS, truncate_dim=8, normalize=True, output=tmp_path / "unit.npy")
    found = np.load(tmp_path / "unit.npy")
    assert found.shape == (len(TEXTS), 8)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["bert", "qwen3", "qwen3_vl", "vit"])
def test_bfloat16_is_near_float32(
    name: str, device: str, tiny_encoder: TinyEncoder, pictures: list[Image.Image]
) -> None:
    encoder = deepcopy(tiny_encoder(name)).to(device)
    values: list[Any] = [*(pictures if encoder.supports("image") else [])]
    # Long enough for the attention that a CPU takes for pages.
    values += [*many_texts(20), "costs of pumps " * 150] if encoder.supports("text") else []
    wanted, found = encoder.encode(values).values, encoder.encode(values, bf16=True).values
    assert found.dtype == torch.float32
    assert not torch.equal(found, wanted)
    assert torch.cosine_similarity(found, wanted).min() >= 0.9999
    assert torch.equal(encoder.encode(values).values, wanted)  # and nothing of it stays


@pytest.mark.parametrize("device", DEVICES)
def test_unit_vectors_keep_their_length_in_bfloat16(device: str, tiny_encoder: TinyEncoder) -> None:
    bert = tiny_encoder("bert")
    encoder = Encoder([*deepcopy(bert).parts, Dense(32, 24), Normalize()]).eval().to(device)  # type: ignore[list-item]
    assert torch.allclose(
        encoder.encode(TEXTS, bf16=True).values.norm(dim=1), torch.ones(len(TEXTS)), atol=1e-6
    )


@pytest.mark.parametrize("device", DEVICES)
def test_bfloat16_of_minilm_on_real_sentences(device: str) -> None:
    from sightline.demo.model import minilm_folder
    from support.tiny_models import TRAINING_TEXT

    encoder = Encoder.from_pretrained(minilm_folder(), device=device)
    values = [*TRAINING_TEXT, *(" ".join(TRAINING_TEXT) for _ in range(2)), "", "a", "Ünïcödé — 東京"]
    wanted, found = encoder.encode(values).values, encoder.encode(values, bf16=True).values
    assert torch.cosine_similarity(found, wanted).min() >= 0.9999


def test_texts_of_one_repeated_token_are_embedded_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.demo.model import minilm_folder
    from sightline.models import encoding_passes

    encoder = Encoder.from_pretrained(minilm_folder(), device="cpu")
    dots = ["Figure 3" + "." * 180 + " D2", "Contents" + "." * 225 + " 7", "Theatre" + "." * 180 + " 7"]
    values = ["a pump in the cellar", *dots, ". . . .", "costs of pumps " * 60]
    wanted, found = encoder.encode(values).values, encoder.encode(values, bf16=True).values
    assert torch.cosine_similarity(found, wanted).min() >= 0.9999
    same = [float((found[row] - wanted[row]).abs().max()) < 1e-6 for row in range(len(values))]
    assert same == [False, True, True, True, False, False]  # nothing else pays for it
    monkeypatch.setattr(encoding_passes, "needs_float32", lambda item, features: False)
    assert torch.cosine_similarity(encoder.encode(values, bf16=True).values, wanted).min() < 0.9999


def test_passes_in_float32_are_planned_as_they_run(
    tiny_encoder: TinyEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where texts go without padding in half precision only, as on a GPU, the others are padded and planned so."""
    monkeypatch.setattr(Packing, "needs_half", property(lambda _: True))
    encoder = deepcopy(tiny_encoder("qwen3"))
    encoder.backbones()[""]._packing._found.clear()  # what was found out before
    same = ["." * 200, *("." * length for length in range(40, 52))]
    other = [" ".join(many_texts(6)), *many_texts(20, seed=1)]
    passes: dict[bool, list[tuple[int, int]]] = {False: [], True: []}

    def note(_: Any, inputs: tuple[Any, ...]) -> None:
        mask_nT = inputs[0].features["attention_mask"]
        passes[torch.is_autocast_enabled("cpu")].append((mask_nT.numel(), int(mask_nT.sum())))

    handle = encoder.register_forward_pre_hook(note)
    encoder.encode([*same, *other], bf16=True, token_budget=500)
    handle.remove()
    assert sum(tokens for _, tokens in passes[False]) > 500
    assert all(positions <= 500 for positions, _ in passes[False])
    assert all(tokens <= 500 for _, tokens in passes[True])
    assert any(positions > 500 for positions, _ in passes[True]), "these have no padding, which costs nothing"


def test_progress_counts_tokens_and_ends_at_all(tiny_encoder: TinyEncoder) -> None:
    seen: list[EncodingProgress] = []
    encoder, values = tiny_encoder("bert"), [*many_texts(700), *many_texts(50)]
    encoder.encode(values, show_progress=seen.append, token_budget=64)
    last = seen[-1]
    tokens = sum(len(ids) for ids in encoder.backbones()[""].processor.tokenizer(
        list(dict.fromkeys(values)), truncation=True)["input_ids"])  # type: ignore[misc,index] # fmt: skip
    assert (last.items, last.total_items) == (750, 750)
    assert last.tokens == last.total_tokens == tokens
    assert last.seconds_left == 0
    assert [one.tokens for one in seen] == sorted(one.tokens for one in seen)
    # Already the first estimate is near: half of the texts are not prepared by then.
    assert seen[0].total_tokens == pytest.approx(tokens, rel=0.15)
    assert seen[0].seconds_left is not None
    encoder.encode(iter(TEXTS), show_progress=seen.append)
    assert seen[-1].total_tokens is None
    assert seen[-1].seconds_left is None
    assert seen[-1].items == len(TEXTS)


@pytest.mark.usefixtures("small_windows")
def test_progress_extrapolates_to_inputs_not_read_yet(tiny_encoder: TinyEncoder) -> None:
    seen: list[EncodingProgress] = []
    tiny_encoder("bert").encode(many_texts(300), show_progress=seen.append)
    assert seen[2].items < 60
    assert seen[2].total_tokens == pytest.approx(seen[-1].tokens, rel=0.5)


MANY = """
import sys
from pathlib import Path
from sightline.models import encoding_windows
from sightline.models.encoder import Encoder

encoding_windows.TEXT_WINDOW = encoding_windows.REMEMBERED = 50
encoder, folder = Encoder.from_pretrained(sys.argv[1], device="cpu"), Path(sys.argv[2])

def peak(count):
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    stream = (f"text {number}" + "\\0" * 40_000 for number in range(count))
    assert encoder.encode(stream, output=folder / "vectors.npy").shape == (count, 32)
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000

peak(100)
print(-peak(200) + peak(700))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's memory figures")
def test_memory_does_not_grow_with_the_number_of_inputs(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(tiny("bert")), str(tmp_path)],
        capture_output=True, text=True, check=True, timeout=200,
    )  # fmt: skip
    assert float(done.stdout) < 10  # MB; the 500 more texts have 20
