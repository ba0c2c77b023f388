"""The check of a graph: the same inputs through onnxruntime and through the model, compared.

Shape letters: N inputs, D components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.errors import CheckpointError
from sightline.export.prepared import TextRules, pixels_of, tokens_of
from sightline.export.towers import Tower
from sightline.models.encoder import Encoder
from sightline.models.probes import BEYOND, QUESTION, ROLES, WITHOUT_LIMIT, picture

if TYPE_CHECKING:
    from torch import Tensor

# Float32 sums in another order; what two devices may differ by is twenty times as much (`models.verify`).
ALLOWED = 1e-4
# Wide, high, small and large.
_SIZES = ((640, 480), (300, 900), (40, 56), (1_400, 1_000))
_PARAGRAPH = (
    "The seals of pump 7 were changed in March, after 4,200 hours; costs by region stand in table 3. " * 3
)


@dataclass(frozen=True)
class Parity:
    """How near a graph's vectors are to the model's.

    Attributes:
        inputs: how many were compared.
        shortest, longest: their tokens; 0 for images.
        difference: the largest of a component, in lengths of the model's vector.
        cosine: the lowest between the two vectors of an input.
    """

    inputs: int
    shortest: int
    longest: int
    difference: float
    cosine: float


class Session:
    """A graph, loaded by onnxruntime on the CPU."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; warnings are about what its optimizer left alone
        self._session: Any = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def run(self, output: str, inputs: dict[str, Tensor]) -> np.ndarray:
        """One output of prepared inputs."""
        found: list[np.ndarray] = self._session.run(
            [output], {name: one.numpy() for name, one in inputs.items()}
        )
        return found[0]


def compare_texts(encoder: Encoder, tower: Tower, rules: TextRules, session: Session) -> Parity:
    """Texts from one word to more than the model reads, as query and as document, padded together and alone."""
    words = WITHOUT_LIMIT if rules.max_tokens is None else min(rules.max_tokens, WITHOUT_LIMIT)
    texts = ["pump", QUESTION, _PARAGRAPH, "seal " * (words + BEYOND)]
    wanted, found, lengths = [], [], []
    for role in ROLES:
        prompt = encoder.prompt_for(role) or ""
        wanted.append(_vectors(encoder, texts, role))
        inputs = tokens_of(tower, rules, [prompt + text for text in texts])
        together_ND = session.run(tower.vector, inputs)
        alone_ND = session.run(tower.vector, tokens_of(tower, rules, [prompt + texts[0]]))
        wanted.append(wanted[-1][:1])
        found += [together_ND, alone_ND]
        lengths += _lengths(inputs)
    return _parity(np.concatenate(wanted), np.concatenate(found), min(lengths), max(lengths))


def compare_images(encoder: Encoder, tower: Tower, session: Session) -> Parity:
    """Images of several sizes, together and one alone."""
    images = [picture(*size) for size in _SIZES]
    wanted_ND = _vectors(encoder, [{"image": image} for image in images], "document")
    together_ND = session.run(tower.vector, pixels_of(tower, images))
    alone_ND = session.run(tower.vector, pixels_of(tower, images[:1]))
    return _parity(np.concatenate([wanted_ND, wanted_ND[:1]]), np.concatenate([together_ND, alone_ND]), 0, 0)


def demand(parity: Parity, file: str) -> None:
    """Refuses a graph that is not the model.

    Raises:
        CheckpointError: a vector that differs by more than `ALLOWED`, or is no number.
    """
    if not parity.difference <= ALLOWED:  # NaN too
        raise CheckpointError(
            f"{file} gives other vectors than the model: a component differs by {parity.difference:.2g} of the "
            f"vector's length, at most {ALLOWED:g} is allowed (lowest cosine {parity.cosine:.6f}); nothing was written"
        )


def _vectors(encoder: Encoder, inputs: Sequence[Any], role: str) -> np.ndarray:
    found = encoder.encode(list(inputs), role=role, truncate_dim=encoder.embedding_dim, show_progress=False)
    return found.values.float().cpu().numpy()


def _lengths(inputs: dict[str, Tensor]) -> list[int]:
    mask = inputs.get("attention_mask")
    if mask is not None:
        return [int(count) for count in mask.sum(dim=1)]
    rows, length = inputs["input_ids"].shape
    return [int(length)] * int(rows)


def _parity(wanted_ND: np.ndarray, found_ND: np.ndarray, shortest: int, longest: int) -> Parity:
    if wanted_ND.shape != found_ND.shape:
        raise CheckpointError(
            f"the graph gives vectors of shape {found_ND.shape}, the model of {wanted_ND.shape}; nothing was written"
        )
    wanted_ND, found_ND = wanted_ND.astype(np.float64), found_ND.astype(np.float64)
    norms_N = np.maximum(np.linalg.norm(wanted_ND, axis=1), 1e-12)
    others_N = np.maximum(np.linalg.norm(found_ND, axis=1), 1e-12)
    return Parity(
        inputs=len(wanted_ND),
        shortest=shortest,
        longest=longest,
        difference=float((np.abs(wanted_ND - found_ND).max(axis=1) / norms_N).max()),
        cosine=float(((wanted_ND * found_ND).sum(axis=1) / (norms_N * others_N)).min()),
    )
