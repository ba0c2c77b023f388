"""Word -> sign video: a word finds the clip in which it is signed, from frames the tower has never seen.

    python benchmarks/real_data/signs.py

There are 60 clips of one avatar, one per word, so what is held out are frames, not words or signers: the tower learns
from every other frame of each clip, cropped and timed a little differently each time; it is asked about the frames in
between, cropped and timed differently, too. It sees what moves: each frame less the mean of its view. The tower is a
small VideoMAE that starts from random weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from common import Question, composed, one_right, pairs, shuffled, teach
from transformers import VideoMAEConfig, VideoMAEModel

from sightline.inputs.media import load_video

SIDE, FRAMES, VIEWS = 64, 8, 6
WORK = 96  # frames are kept at about this many pixels square


def frames_of(path: Any) -> np.ndarray:
    """All frames of a clip, their middle square, small: (T, H, H, 3)."""
    count = load_video(path, fps=None, max_frames=1).total_frames
    frames = load_video(path, fps=None, max_frames=count, total_pixels=count * WORK * WORK * 16 // 9).frames
    height, width = frames.shape[1:3]
    left = (width - height) // 2
    return frames[:, :, left : left + height]


def views(frames: np.ndarray, number: int, seed: int) -> list[np.ndarray]:
    """Other takes of a clip: begun later or ended earlier by up to an eighth, moved by up to an eighth."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        spare, height, width = (side // 8 for side in frames.shape[:3])
        first, top, left = (int(draw.integers(0, room + 1)) for room in (spare, height, width))
        last = len(frames) - int(draw.integers(0, spare + 1))
        view = frames[first:last, top : frames.shape[1] - height + top, left : frames.shape[2] - width + left]
        moving = 128 + (view - view.mean(axis=0))
        found.append(moving.clip(0, 255).astype(np.uint8))
    return found


def main() -> None:
    """Trains, judges, prints."""
    folder, lines = pairs("signs")
    words, seen, held = [], [], []
    for number, line in enumerate(shuffled(lines)):
        frames = frames_of(folder / line["video"])
        words.append({"text": line["text"]})
        seen += [{"word": words[-1], "sign": {"video": view}} for view in views(frames[0::2], VIEWS, number)]
        held.append({"video": views(frames[1::2], 1, 1000 + number)[0]})
    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=SIDE, patch_size=16, num_frames=FRAMES, tubelet_size=2, hidden_size=128,
        num_hidden_layers=3, num_attention_heads=4, intermediate_size=256,
    )  # fmt: skip
    settings = {
        "video_processor_type": "VideoMAEVideoProcessor", "size": {"shortest_edge": SIDE},
        "crop_size": {"height": SIDE, "width": SIDE}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.1, 0.1, 0.1],
    }  # fmt: skip
    encoder = composed(VideoMAEModel(config), settings, "video_preprocessor_config.json", "video")
    title = f"Word -> sign video, unseen frames of {len(words)} clips"
    question = Question(title, words, held, one_right(len(words)))
    teach(encoder, seen, question, epochs=15, batch_size=30, learning_rate=1e-3, temperature=0.1)


if __name__ == "__main__":
    main()
