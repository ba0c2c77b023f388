"""transformers' own video processors, and Sentence Transformers on video, as a program that has torchvision.

    python video_oracle.py FOLDER_WITH_TORCHVISION|installed WORK

WORK holds ``settings.json`` (name -> settings of a video processor), and an encoder saved by Sightline per folder of
``models/`` and a reranker per folder of ``rerankers/``. It gets::

    processed.npz     what transformers' processors make of `films`, as NAME/FILM/FEATURE
    encoded.npz       Sentence Transformers' vectors, as FOLDER/INPUTS
    scored.npz        its scores of `pairs`, by FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

RATE = 16_000


def films() -> dict[str, Any]:
    """Noise films as (array (T, H, W, 3), frames per second)."""
    import numpy as np

    random = np.random.default_rng(0)
    sizes = {"short": (3, 40, 60, 8.0), "long": (60, 30, 44, 20.0), "tall": (10, 90, 34, 5.0)}
    return {
        name: (random.integers(0, 256, (frames, height, width, 3), dtype=np.uint8), fps)
        for name, (frames, height, width, fps) in sizes.items()
    }


def clips() -> list[dict[str, Any]]:
    """Noise as sound, of several lengths."""
    import numpy as np

    random = np.random.default_rng(1)
    return [
        {"array": random.normal(size=length).astype(np.float32) / 4, "sampling_rate": RATE}
        for length in (9_000, 16_000, 4_321)
    ]


def filmed(name: str) -> dict[str, Any]:
    """A film as people hand it over, with what is known of it."""
    frames, fps = films()[name]
    return {"array": frames, "video_metadata": {"fps": fps, "total_num_frames": len(frames)}}


def inputs(modalities: Any) -> dict[str, list[Any]]:
    """Inputs of a model, by name; each list in one call, the same on both sides."""
    if "text" not in modalities:  # an encoder of four frames, which neither library draws for the other
        frames = films()["long"][0][:4]
        return {"video": [{"array": frames, "video_metadata": {"fps": 4.0, "total_num_frames": 4}}]}
    content = [  # frames alone: ST does not take metadata inside messages
        {"type": "video", "video": films()["tall"][0]},
        {"type": "text", "text": "and backwards"},
        {"type": "video", "video": films()["tall"][0][::-1].copy()},
    ]
    given: dict[str, list[Any]] = {
        "video": [filmed(name) for name in films()],
        "text and video": [{"text": "a pump", "video": filmed("tall")}],
        "messages": [[{"role": "user", "content": content}]],
    }
    if "audio" in modalities:
        from support.fixtures import make_pictures
        from support.zoo.inputs import TEXTS

        given["text"], given["image"], given["audio"] = list(TEXTS), make_pictures(), clips()
        given["video"] = [filmed("short"), filmed("tall")]  # Qwen2.5-Omni enlarges each frame to 128 tokens
    return given


TEXT_PAIRS = [("costs of the plant", "a table of operating costs"), ("a pump", "seals")]


def pairs(modalities: Any, *, bare: bool = False) -> list[Any]:
    """Pairs of a reranker that hears, or else of one that sees films: `TEXT_PAIRS`, then one side, then both.

    Args:
        modalities: the reranker's.
        bare: sounds as samples alone, at the model's rate, which is how ST takes them inside messages.
    """
    if "audio" in modalities:
        values = [{"audio": clip["array"] if bare else clip} for clip in clips()]
    else:  # frames alone: ST does not take metadata inside messages
        frames = [films()[name][0] for name in ("short", "tall")]
        values = [{"video": array} for array in (*frames, frames[0][::-1].copy())]
    first, second, third = values
    mixed = ({"text": "like this", **second}, "a pump")
    return [*TEXT_PAIRS, ("a word", first), (second, "a word"), (third, first), mixed]


def processed(processor: Any) -> dict[str, Any]:
    """Features of each film by a transformers video processor, sampled as it samples."""
    found = {}
    for name, (frames, fps) in films().items():
        metadata = {"fps": fps, "total_num_frames": len(frames)}
        output = processor([frames], video_metadata=[metadata], return_tensors="pt")
        found |= {
            f"{name}/{feature}": output[feature].numpy() for feature in output if feature != "video_metadata"
        }
    return found


def main() -> None:
    """Writes what the module's docstring says."""
    from support.st_oracle import import_torchvision

    folder, work = sys.argv[1], Path(sys.argv[2])
    import_torchvision(folder)
    import numpy as np
    import torch
    import transformers
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from transformers import AutoImageProcessor, ProcessorMixin

    def load(kind: Any, path: Path) -> Any:
        model = kind(str(path), device="cpu")
        if isinstance(model[0].processor, ProcessorMixin) and "image" in model.modalities:
            model[0].processor.image_processor = AutoImageProcessor.from_pretrained(path, backend="pil")
        return model

    torch.set_num_threads(1)
    made: dict[str, Any] = {}
    for name, settings in json.loads((work / "settings.json").read_text()).items():
        kind = getattr(transformers, settings["video_processor_type"])
        assert "sightline" not in kind.__module__
        made |= {f"{name}/{key}": value for key, value in processed(kind(**settings)).items()}
    np.savez(work / "processed.npz", **made)
    vectors: dict[str, Any] = {}
    for path in sorted((work / "models").iterdir()):
        model = load(SentenceTransformer, path)
        for name, values in inputs(model.modalities).items():
            # One by one: of inputs whose lengths differ, each shall have the vector it has alone.
            vectors[f"{path.name}/{name}"] = np.concatenate([model.encode([value]) for value in values])
    np.savez(work / "encoded.npz", **vectors)
    scores: dict[str, Any] = {}
    for path in sorted((work / "rerankers").iterdir()):
        model = load(CrossEncoder, path)
        asked = pairs(model.modalities, bare=True)
        raw = [model.predict([pair], activation_fn=torch.nn.Identity()) for pair in asked]
        scores[path.name] = np.concatenate(raw)
    np.savez(work / "scored.npz", **scores)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
