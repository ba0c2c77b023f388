"""Video without torchvision: features as transformers makes them with it, vectors as Sentence Transformers'.

And the scores of rerankers that hear or see films.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from sightline.inputs.torch_videos import torch_video_processor
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from support import tiny_media, video_oracle
from support.media_rerankers import MEDIA_RERANKERS
from support.model_facts import ModelFact
from support.torchvision_folder import torchvision_folder
from support.zoo.architectures import ARCHITECTURES
from support.zoo.films import FILMS

SMALL = {"size": {"shortest_edge": 4_096, "longest_edge": 65_536}}
SETTINGS: dict[str, dict[str, Any]] = {
    "qwen2": {"video_processor_type": "Qwen2VLVideoProcessor", **SMALL},
    "qwen2, 2 fps": {
        "video_processor_type": "Qwen2VLVideoProcessor", "do_sample_frames": True, "fps": 2.0, **SMALL,
    },
    "qwen2, capped": {"video_processor_type": "Qwen2VLVideoProcessor", "cap_pixels_per_frame": True},
    "qwen3": {"video_processor_type": "Qwen3VLVideoProcessor", **SMALL},
    "qwen3, 10 fps": {
        "video_processor_type": "Qwen3VLVideoProcessor", "fps": 10.0, "min_frames": 2, "max_frames": 8, **SMALL,
    },
    "qwen3, capped": {"video_processor_type": "Qwen3VLVideoProcessor", "cap_pixels_per_frame": True},
    "llava": {"video_processor_type": "LlavaOnevisionVideoProcessor", "size": {"height": 40, "width": 48}},
    "videomae": {
        "video_processor_type": "VideoMAEVideoProcessor", "size": {"shortest_edge": 36},
        "crop_size": {"height": 32, "width": 32},
    },
    "videomae, larger crop": {
        "video_processor_type": "VideoMAEVideoProcessor", "size": {"shortest_edge": 31},
        "crop_size": {"height": 64, "width": 65},
    },
    "vjepa2": {"video_processor_type": "VJEPA2VideoProcessor", "crop_size": 64},
}  # fmt: skip
MODELS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    **{key: (ARCHITECTURES[key].name, ARCHITECTURES[key].build) for key in FILMS},
    "qwen2_5_omni": ("Qwen2.5-Omni (thinker)", tiny_media.qwen2_5_omni),
    "videomae": ("VideoMAE", tiny_media.videomae),
}
# What the oracle calls inputs -> the row of docs/models.md they speak for.
ROWS = {"text": "text", "image": "image", "audio": "audio", "video": "video", "messages": "message"}


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what the oracle wrote; see `support.video_oracle`."""
    work = tmp_path_factory.mktemp("videos")
    (work / "settings.json").write_text(json.dumps(SETTINGS))
    for name, (_, build) in MODELS.items():
        bare = build(work / "bare" / name)
        Encoder.from_pretrained(bare, device="cpu").save_pretrained(work / "models" / name)
    for name, one in MEDIA_RERANKERS.items():
        one.load(work / "bare-rerankers" / name).save_pretrained(work / "rerankers" / name)
    done = subprocess.run(
        [sys.executable, video_oracle.__file__, torchvision_folder(), str(work)],
        capture_output=True, text=True, timeout=240, check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    return work


@pytest.mark.parametrize("name", SETTINGS)
def test_features_are_those_of_transformers_with_torchvision(name: str, oracle: Path) -> None:
    processor = torch_video_processor(SETTINGS[name])
    assert processor is not None
    wanted = np.load(oracle / "processed.npz")
    ours = video_oracle.processed(processor)
    keys = {key.removeprefix(f"{name}/") for key in wanted if key.startswith(f"{name}/")}
    assert set(ours) == keys
    for key, value in ours.items():
        assert np.array_equal(value, wanted[f"{name}/{key}"]), key


@pytest.mark.models
@pytest.mark.parametrize("name", MODELS)
def test_vectors_are_those_of_sentence_transformers(name: str, oracle: Path, model_fact: ModelFact) -> None:
    encoder = Encoder.from_pretrained(
        oracle / "models" / name, device="cpu", processor_kwargs={"backend": "pil"}
    )
    wanted = np.load(oracle / "encoded.npz")
    given = video_oracle.inputs(encoder.modalities)
    assert {f"{name}/{key}" for key in given} == {key for key in wanted if key.startswith(f"{name}/")}
    for key, values in given.items():
        found = encoder.encode(values).numpy()
        assert np.abs(found - wanted[f"{name}/{key}"]).max() <= 1e-5, key
        if key in ROWS:
            model_fact(MODELS[name][0], ROWS[key], "loads", "agrees")


@pytest.mark.models
@pytest.mark.parametrize("name", MEDIA_RERANKERS)
def test_scores_are_those_of_sentence_transformers(name: str, oracle: Path, model_fact: ModelFact) -> None:
    reranker = Reranker.from_pretrained(
        oracle / "rerankers" / name, device="cpu", processor_kwargs={"backend": "pil"}
    )
    wanted = np.load(oracle / "scored.npz")[name]
    found = reranker.predict(video_oracle.pairs(reranker.modalities), activation=nn.Identity())
    assert (np.abs(wanted[:, None] - wanted[None]) + np.eye(len(wanted))).min() > 1e-4, "they differ"
    assert np.abs(found - wanted).max() <= 1e-5
    for inputs in MEDIA_RERANKERS[name].inputs:
        model_fact(MEDIA_RERANKERS[name].name, inputs, "agrees", task="reranking")
