"""Which frames a model sees: its own processor's formula, for files and for frames in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sightline.inputs.frame_choice import LIMIT, FrameChoice, without_sampling
from sightline.inputs.media import load_video
from sightline.inputs.pixels import find_film_normalization
from sightline.inputs.qwen2_videos import Qwen2VLVideoProcessor
from sightline.inputs.torch_videos import Qwen3VLVideoProcessor, torch_video_processor


def choice(kind: Any, arguments: dict[str, Any] | None = None, **settings: Any) -> FrameChoice:
    return FrameChoice(kind(**settings), arguments or {})


def film(path: Path, frames: int = 40, fps: int = 20) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            picture = np.full((48, 64, 3), 6 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_qwen3_vl_spaces_its_frames_from_first_to_last() -> None:
    # Qwen3-VL samples two frames per second, at least four.
    assert choice(Qwen3VLVideoProcessor)(41, 20.0, in_memory=False).tolist() == [0, 13, 27, 40]
    assert choice(Qwen3VLVideoProcessor, {"fps": 3.0})(41, 20.0, in_memory=False).tolist() == [
        0, 8, 16, 24, 32, 40,
    ]  # fmt: skip
    assert choice(Qwen3VLVideoProcessor, {"num_frames": 3})(41, 20.0, in_memory=False).tolist() == [0, 20, 40]


def test_qwen2_vl_takes_whole_pairs_of_frames() -> None:
    assert choice(Qwen2VLVideoProcessor, {"fps": 2.5})(41, 20.0, in_memory=False).tolist() == [0, 10, 20, 30]
    assert len(choice(Qwen2VLVideoProcessor)(41, 20.0, in_memory=False)) == 4


def test_frames_in_memory_are_sampled_only_where_the_checkpoint_does_so() -> None:
    assert choice(Qwen2VLVideoProcessor)(41, 20.0, in_memory=True).tolist() == list(range(41))
    assert len(choice(Qwen3VLVideoProcessor)(41, 20.0, in_memory=True)) == 4
    kept = choice(Qwen3VLVideoProcessor, {"do_sample_frames": False})
    assert kept(41, 20.0, in_memory=True).tolist() == list(range(41))


@pytest.mark.parametrize("kind", [Qwen2VLVideoProcessor, Qwen3VLVideoProcessor])
def test_films_of_a_frame_or_two(kind: Any) -> None:
    for in_memory in (False, True):
        assert choice(kind)(1, 25.0, in_memory=in_memory).tolist() == [0, 0]
        assert choice(kind)(2, 25.0, in_memory=in_memory).tolist() == [0, 1]
        assert choice(kind)(3, 25.0, in_memory=in_memory).max() <= 2


def test_more_frames_than_there_are_cannot_be_asked_for() -> None:
    llava = torch_video_processor({"video_processor_type": "LlavaOnevisionVideoProcessor"})
    assert llava is not None
    for arguments in ({"fps": 60.0}, {"num_frames": 100}):
        assert FrameChoice(llava, arguments)(30, 15.0, in_memory=False).tolist() == list(range(30))


def test_a_fixed_number_repeats_frames_of_short_films() -> None:
    fixed = FrameChoice(Qwen2VLVideoProcessor(), fixed=4)
    assert fixed(2, 25.0, in_memory=True).tolist() == [0, 0, 1, 1]
    assert fixed(100, 25.0, in_memory=False).tolist() == [0, 33, 66, 99]


def test_hours_of_film_are_thinned_out() -> None:
    llava = torch_video_processor({"video_processor_type": "LlavaOnevisionVideoProcessor"})
    assert llava is not None
    found = FrameChoice(llava)(4 * 3600 * 25, 25.0, in_memory=False)
    assert len(found) == LIMIT
    assert found[0] == 0


def test_files_give_the_chosen_frames(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    found = load_video(path, choice=choice(Qwen3VLVideoProcessor, {"num_frames": 3}))
    assert found.indices.tolist() == [0, 20, 39]
    assert [round(frame.mean() / 6) for frame in found.frames] == [0, 20, 39]
    assert np.allclose(found.timestamps, [0, 1, 1.95], atol=2e-3)
    fixed = load_video(path, choice=FrameChoice(Qwen2VLVideoProcessor(), fixed=80))
    assert len(fixed.frames) == 80
    assert [round(frame.mean() / 6) for frame in fixed.frames[:4]] == [0, 0, 1, 1]
    arguments = without_sampling({"fps": 2.0, "size": {"height": 8, "width": 8}}, [found])
    assert arguments["do_sample_frames"] is False
    assert arguments["video_metadata"][0]["frames_indices"] == [0, 20, 39]
    assert arguments["fps"] == 2.0  # for processors that reckon times from it


def test_frames_with_known_places_are_taken_as_they_are() -> None:
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    stated = {"fps": 10, "total_num_frames": 100, "frames_indices": [0, 50, 99]}
    found = load_video({"array": frames, "video_metadata": stated}, choice=choice(Qwen3VLVideoProcessor))
    assert found.indices.tolist() == [0, 50, 99]
    assert found.timestamps.tolist() == [0, 5, 9.9]


@pytest.mark.parametrize(
    "name", ["Qwen2VLVideoProcessor", "Qwen3VLVideoProcessor", "LlavaOnevisionVideoProcessor"]
)
def test_frames_stay_bytes_until_the_device(name: str) -> None:
    processor = torch_video_processor({"video_processor_type": name})
    assert processor is not None
    normalization = find_film_normalization(processor)
    assert normalization is not None
    frames = np.random.default_rng(2).integers(0, 256, (6, 50, 40, 3), dtype=np.uint8)
    arguments = {"return_tensors": "pt", "do_sample_frames": False}
    finished = processor([frames], **arguments)["pixel_values_videos"]
    raw = processor([frames], do_rescale=False, do_normalize=False, **arguments)["pixel_values_videos"]
    assert raw.element_size() == 1
    assert (normalization(raw).reshape(finished.shape) - finished).abs().max() <= 2e-6
