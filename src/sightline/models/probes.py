"""What a saved model is asked, to see whether it is the one that was saved: a little of every modality it takes.

Two kinds of questions. *Vectors* (or scores) of small inputs, which show whether every weight, head and prompt came
back. *Prepared inputs* of a text longer than the model reads and of an image larger than it looks at, which show
whether limits and settings came back, without running the model on anything large.

Shape letters: n inputs, D components, T tokens, L labels
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn, tensor

from sightline.inputs.pairs import parse_pair
from sightline.inputs.parse import parse

ROLES = ("query", "document")
QUESTION = "Which pump needs its seal changed most often?"
TEXTS = (QUESTION, "A table of operating costs by region, 2019 to 2024. " * 3)
# Tokens of the long text beyond a model's limit; without a limit it has this many words.
BEYOND, WITHOUT_LIMIT = 16, 512
LONGEST = 16_384


@dataclass(frozen=True)
class Probe:
    """One question to a model.

    Attributes:
        name: what is asked, for messages: ``"image as document"``.
        ask: from a model to tensors by name.
        exact: prepared inputs are equal or not; vectors differ by a little on another device.
    """

    name: str
    ask: Callable[[Any], Mapping[str, Tensor]]
    exact: bool = False


def encoder_probes(encoder: Any) -> list[Probe]:
    """Questions to an `Encoder`: every modality it takes, as query and as document, as a router may part them."""
    values = {
        name: found
        for name, found in _values(encoder.preprocessor.max_tokens).items()
        if encoder.supports(name)
    }
    if encoder.supports(("image", "text")):
        values["image with text"] = ([{"image": picture(64, 48), "text": QUESTION}], None)
    probes = []
    for name, (small, large) in values.items():
        for role in ROLES:
            probes.append(Probe(f"{name} as {role}", partial(_vectors, inputs=small, role=role)))
            if large is not None:
                probes.append(
                    Probe(f"a large {name} as {role}", partial(_prepared, value=large, role=role), exact=True)
                )
    return _settings_first(probes)


def reranker_probes(reranker: Any) -> list[Probe]:
    """Questions to a `Reranker`: a text against a document of every modality it takes."""
    values = _values(reranker.preprocessor.max_tokens)
    probes = []
    for name in reranker.modalities:
        if name in values:
            small, large = values[name]
            pairs = [(QUESTION, document) for document in small]
            probes.append(Probe(f"a text with {name}", partial(_scores, pairs=pairs)))
            if large is not None:
                probes.append(
                    Probe(
                        f"a text with a large {name}",
                        partial(_prepared_pair, pair=(QUESTION, large)),
                        exact=True,
                    )
                )
    return _settings_first(probes)


def _settings_first(probes: Sequence[Probe]) -> list[Probe]:
    """A setting that was lost is a better answer than the vectors that differ because of it."""
    return sorted(probes, key=lambda probe: not probe.exact)


def _vectors(encoder: Any, *, inputs: Sequence[Any], role: str) -> Mapping[str, Tensor]:
    # At full width: the dimension the saved model cuts to may be another.
    found = encoder.encode(list(inputs), role=role, truncate_dim=encoder.embedding_dim, show_progress=False)
    return {"vectors": found.values if found.mask is None else found.values * found.mask.unsqueeze(-1)}


def _prepared(encoder: Any, *, value: Any, role: str) -> Mapping[str, Tensor]:
    item = parse(value, modalities=encoder.modalities)
    prompt = encoder.prompt_for(role)
    values: Mapping[str, Tensor] = encoder.preprocessor(item, role=role, prompt=prompt).values
    return values


def _scores(reranker: Any, *, pairs: Sequence[tuple[Any, Any]]) -> Mapping[str, Tensor]:
    return {"scores": tensor(reranker.predict(list(pairs), activation=nn.Identity(), show_progress=False))}


def _prepared_pair(reranker: Any, *, pair: tuple[Any, Any]) -> Mapping[str, Tensor]:
    values: Mapping[str, Tensor] = reranker.preprocessor(
        parse_pair(pair), prompt=reranker.prompt_for()
    ).values
    return values


def _values(max_tokens: int | None) -> dict[str, tuple[list[Any], Any]]:
    """Modality -> small inputs, and a large one or None."""
    words = WITHOUT_LIMIT if max_tokens is None else min(max_tokens + BEYOND, LONGEST)
    time = np.arange(16_000, dtype=np.float32) / 16_000
    tone = {"array": 0.4 * np.sin(2 * np.pi * 440 * time), "sampling_rate": 16_000}
    frames = np.stack([np.asarray(picture(64, 64, shift=shift)) for shift in range(0, 32, 8)])
    return {
        "text": (list(TEXTS), "pump " * words),
        "image": ([{"image": picture(64, 48)}], {"image": picture(1_400, 1_000)}),
        "audio": ([{"audio": tone}], None),
        "video": ([{"video": {"array": frames, "video_metadata": {"fps": 2.0}}}], None),
    }


def picture(width: int, height: int, *, shift: int = 0) -> Any:
    """Colours that run into each other, and a few sharp edges."""
    from PIL import Image

    y, x = np.mgrid[0:height, 0:width]
    edges = 120 * (((x + shift) // 8 + y // 8) % 2)
    channels = [255 * x // width, 255 * y // height, edges]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))
