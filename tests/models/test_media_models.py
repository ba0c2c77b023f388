"""Models that hear and see films: loaded, trained for a step, saved, and as Sentence Transformers has them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoFeatureExtractor

from sightline.errors import MediaError
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.training.batches import BatchBuilder
from sightline.training.limits import Limits
from sightline.training.rows import choose_columns
from sightline.training.step import Step
from support import tiny_media
from support.fixtures import TEXTS, make_pictures
from support.model_facts import ModelFact
from support.video_oracle import RATE, clips, filmed, films
from support.zoo.architectures import ARCHITECTURES
from support.zoo.films import FILMS

SPEECH = {
    "wav2vec2": "wav2vec 2.0",
    "wav2vec2_base": "wav2vec 2.0 (base)",
    "hubert": "HuBERT",
    "wavlm": "WavLM",
    "whisper": "Whisper (encoder)",
}
LONG = 3 * RATE // 2  # CLAP's tiny extractor hears one second

Made = Callable[[str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """``made("whisper")``: folder of a bare tiny checkpoint; read only."""
    root = tmp_path_factory.mktemp("media")

    def folder(name: str) -> Path:
        path = root / name
        return path if path.exists() else getattr(tiny_media, name)(path)

    return folder


def sounds(number: int = 3) -> list[dict[str, Any]]:
    return clips()[:number]


def near(ours: Any, theirs: Any, limit: float = 1e-5) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= limit


def one_by_one(model: Any, values: list[Any]) -> np.ndarray:
    return np.concatenate([np.asarray(model.encode([value])) for value in values])


def stepped(encoder: Encoder, rows: list[dict[str, Any]], kept: int | None = None) -> dict[str, torch.Tensor]:
    """Gradients of one contrastive step."""
    builder = BatchBuilder(
        preprocess=encoder.preprocessor, collate=encoder.collate,
        columns=choose_columns(("anchor", "positive")), modalities=encoder.modalities,
        limits=Limits(token_budget=200),
    )  # fmt: skip
    batch = builder(list(enumerate(rows)))["batch"]
    assert batch is not None
    encoder.train()
    encoder.zero_grad()
    parts = Step(kept=kept).run(encoder, batch, InfoNCE(temperature=0.5))
    encoder.eval()
    assert all(torch.isfinite(value) for value in parts.values())
    return {name: value.grad.clone() for name, value in encoder.named_parameters() if value.grad is not None}


def check_training(encoder: Encoder, rows: list[dict[str, Any]]) -> None:
    """A step moves the weights, and gradient caching gives the gradients of a plain step."""
    plain, cached = stepped(encoder, rows), stepped(encoder, rows, kept=0)
    assert any(gradient.abs().max() > 0 for gradient in plain.values())
    assert plain.keys() == cached.keys()
    for name, gradient in plain.items():
        assert torch.allclose(gradient, cached[name], atol=1e-5 * max(1.0, float(gradient.abs().max()))), name
    before = encoder.encode([rows[0]["positive"]]).numpy()
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    optimizer.step()
    assert np.abs(encoder.encode([rows[0]["positive"]]).numpy() - before).max() > 0


def without_dropout(folder: Path) -> Encoder:
    """An encoder whose two passes over an item are the same."""
    names = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop")
    names += ("hidden_dropout_prob", "attention_probs_dropout_prob", "final_dropout")
    config = json.loads((folder / "config.json").read_text())
    return Encoder.from_pretrained(
        folder, device="cpu", config_kwargs={name: 0.0 for name in names if name in config}
    )


@pytest.mark.models
@pytest.mark.parametrize("name", SPEECH)
def test_speech_encoders(name: str, made: Made, tmp_path: Path, model_fact: ModelFact) -> None:
    encoder = Encoder.from_pretrained(made(name), device="cpu")
    assert encoder.modalities == ("audio",)
    vectors = encoder.encode(sounds()).numpy()
    near(vectors, one_by_one(encoder, sounds()))
    encoder.save_pretrained(tmp_path / "ours")
    near(Encoder.from_pretrained(tmp_path / "ours", device="cpu").encode(sounds()), vectors)
    # ST averages over the padding of a batch, too, so each clip is asked for alone.
    theirs = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    near(one_by_one(theirs, sounds()), vectors)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    near(Encoder.from_pretrained(tmp_path / "theirs", device="cpu").encode(sounds()), vectors)
    first, second, third = sounds()
    rows = [{"anchor": first, "positive": second}, {"anchor": third, "positive": first}]
    check_training(without_dropout(made(name)), rows)
    model_fact(SPEECH[name], "audio", "loads", "trains", "saves", "agrees")


def test_a_clip_has_one_vector_whatever_its_neighbours(made: Made) -> None:
    silence = {"array": np.zeros(2 * RATE, np.float32), "sampling_rate": RATE}
    for name in SPEECH:
        encoder = Encoder.from_pretrained(made(name), device="cpu")
        near(encoder.encode([*sounds(), silence])[:3], one_by_one(encoder, sounds()))


def test_clips_of_models_that_cannot_mask_are_never_padded(made: Made) -> None:
    groups = {}
    for name in ("wav2vec2", "wav2vec2_base"):
        encoder = Encoder.from_pretrained(made(name), device="cpu")
        found = [encoder.preprocessor(item) for item in _items(encoder, [*sounds(), sounds()[0]])]
        groups[name] = [features.group for features in found]
        assert [features.cost.tokens for features in found] == [28, 50, 13, 28]
    assert len(set(groups["wav2vec2"])) == 1
    assert groups["wav2vec2_base"] == ["|audio#9000", "|audio#16000", "|audio#4321", "|audio#9000"]


def _items(encoder: Encoder, values: list[Any]) -> list[Any]:
    from sightline.inputs.parse import parse

    return [parse(value, modalities=encoder.modalities) for value in values]


def test_whisper_is_loaded_without_its_decoder(made: Made, tmp_path: Path) -> None:
    from transformers import WhisperForConditionalGeneration

    whole = WhisperForConditionalGeneration.from_pretrained(made("whisper"))
    encoder = Encoder.from_pretrained(made("whisper"), device="cpu")
    theirs = dict(whole.model.encoder.named_parameters())
    ours = dict(encoder.backbones()[""].model.named_parameters())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_speech_encoder_needs_no_tokenizer(made: Made, tmp_path: Path) -> None:
    wanted = Encoder.from_pretrained(made("wav2vec2"), device="cpu").encode(sounds())
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(made("wav2vec2") / name, folder)
    AutoFeatureExtractor.from_pretrained(made("wav2vec2")).save_pretrained(folder)
    encoder = Encoder.from_pretrained(folder, device="cpu")
    near(encoder.encode(sounds()), wanted)
    encoder.save_pretrained(tmp_path / "ours")
    near(Encoder.from_pretrained(tmp_path / "ours", device="cpu").encode(sounds()), wanted)


def test_too_short_a_clip_is_refused(made: Made) -> None:
    encoder = Encoder.from_pretrained(made("wav2vec2"), device="cpu")
    short = {"array": np.ones(300, np.float32), "sampling_rate": RATE}
    with pytest.raises(MediaError, match="lasts 19 ms, and the model needs at least 20 ms"):
        encoder.encode([short])


@pytest.mark.models
@pytest.mark.parametrize("fusion", [False, True])
def test_clap(fusion: bool, tmp_path: Path, model_fact: ModelFact) -> None:
    encoder = Encoder.from_pretrained(tiny_media.clap(tmp_path / "bare", fusion=fusion), device="cpu")
    assert encoder.modalities == ("text", "audio")
    assert encoder.embedding_dim == 24
    sound, text = encoder.encode(sounds()).numpy(), encoder.encode(TEXTS).numpy()
    near(sound, one_by_one(encoder, sounds()))
    near(text, one_by_one(encoder, TEXTS))
    # Crops of long clips are drawn; ours are always the same.
    long = {"array": np.random.default_rng(5).normal(size=LONG).astype(np.float32), "sampling_rate": RATE}
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    near(encoder.encode([long]), encoder.encode([long]), 0.0)
    assert np.array_equal(state, np.random.get_state()[1])
    encoder.save_pretrained(tmp_path / "ours")
    again = Encoder.from_pretrained(tmp_path / "ours", device="cpu")
    theirs = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    heard = [one for one in sounds() if len(one["array"]) <= RATE]
    for model in (again, theirs):
        near(one_by_one(model, heard), sound[: len(heard)])
        near(one_by_one(model, TEXTS), text)
    rows = [{"anchor": text, "positive": clip} for text, clip in zip(TEXTS[1:], sounds(), strict=False)]
    check_training(encoder, rows)
    for modality in ("text", "audio"):
        model_fact("CLAP", modality, "loads", "trains", "saves", "agrees")


def mixed() -> list[Any]:
    first, second, _ = sounds()
    return [
        "a pump",
        {"text": "a pump", "audio": first},
        {"audio": [first, second]},
        {"video": filmed("tall"), "audio": second, "text": "and its sound"},
        [
            {"role": "system", "content": "You listen."},
            {
                "role": "user",
                "content": [
                    {"type": "audio", "audio": second},
                    {"type": "text", "text": "then"},
                    {"type": "video", "video": filmed("short")},
                ],
            },
        ],
    ]


@pytest.mark.models
def test_omni(made: Made, tmp_path: Path, model_fact: ModelFact) -> None:
    encoder = Encoder.from_pretrained(made("qwen2_5_omni"), device="cpu")
    assert encoder.modalities == ("text", "image", "audio", "video", "message")
    values = [*sounds(), filmed("short"), filmed("tall"), *mixed(), *make_pictures()]
    vectors = encoder.encode(values).numpy()
    near(vectors, one_by_one(encoder, values))
    assert len({vector.tobytes() for vector in vectors}) == len(vectors)
    encoder.save_pretrained(tmp_path / "ours")
    near(Encoder.from_pretrained(tmp_path / "ours", device="cpu").encode(values), vectors)
    rows = [
        {"anchor": "a pump", "positive": sounds()[0]},
        {"anchor": sounds()[1], "positive": filmed("tall")},
        {"anchor": "a page", "positive": make_pictures()[0]},
    ]
    check_training(encoder, rows)
    for modality in ("text", "image", "audio", "video", "message"):
        model_fact("Qwen2.5-Omni (thinker)", modality, "loads", "trains", "saves")


@pytest.mark.models
def test_qwen2_audio(made: Made, tmp_path: Path, model_fact: ModelFact) -> None:
    encoder = Encoder.from_pretrained(made("qwen2_audio"), device="cpu")
    assert encoder.modalities == ("text", "audio", "message")
    values = [*sounds(), "a pump", {"text": "a pump", "audio": sounds()[0]}, {"audio": sounds()[1:]}]
    vectors = encoder.encode(values).numpy()
    near(vectors, one_by_one(encoder, values))
    encoder.save_pretrained(tmp_path / "ours")
    near(Encoder.from_pretrained(tmp_path / "ours", device="cpu").encode(values), vectors)
    near(one_by_one(SentenceTransformer(str(tmp_path / "ours"), device="cpu"), values), vectors)
    check_training(
        encoder,
        [{"anchor": "a pump", "positive": sounds()[0]}, {"anchor": "x", "positive": sounds()[2]}],
    )
    for modality in ("text", "audio", "text+audio"):
        model_fact("Qwen2-Audio", modality, "loads", "trains", "saves", "agrees")


def test_silence_behind_a_clip_is_cut_off(made: Made) -> None:
    encoder = Encoder.from_pretrained(made("qwen2_5_omni"), device="cpu")
    (item,) = _items(encoder, sounds(1))
    features = encoder.preprocessor(item)
    assert features.values["input_features"].shape == (1, 16, 57)  # 9,000 samples, 160 per frame


@pytest.mark.models
def test_videomae(made: Made, tmp_path: Path, model_fact: ModelFact) -> None:
    encoder = Encoder.from_pretrained(made("videomae"), device="cpu")
    assert encoder.modalities == ("video",)
    values = [filmed(name) for name in films()]
    vectors = encoder.encode(values).numpy()
    near(vectors, one_by_one(encoder, values))
    encoder.save_pretrained(tmp_path / "ours")
    near(Encoder.from_pretrained(tmp_path / "ours", device="cpu").encode(values), vectors)
    first, second, third = values
    check_training(encoder, [{"anchor": first, "positive": second}, {"anchor": third, "positive": first}])
    model_fact("VideoMAE", "video", "loads", "trains", "saves")


@pytest.mark.models
@pytest.mark.parametrize("key", FILMS)
def test_films_of_vision_language_models(key: str, tmp_path: Path, model_fact: ModelFact) -> None:
    bare = ARCHITECTURES[key].build(tmp_path / "bare")
    encoder = Encoder.from_pretrained(bare, device="cpu")
    values = [filmed(name) for name in films()] + [{"text": "a pump", "video": filmed("tall")}, "a pump"]
    vectors = encoder.encode(values).numpy()
    near(vectors, one_by_one(encoder, values))
    encoder.save_pretrained(tmp_path / "ours")
    near(Encoder.from_pretrained(tmp_path / "ours", device="cpu").encode(values), vectors)
    check_training(
        encoder, [{"anchor": "a", "positive": values[0]}, {"anchor": values[1], "positive": values[2]}]
    )
    model_fact(ARCHITECTURES[key].name, "video", "loads", "trains", "saves")
