"""From a model in memory to its folder: the facts, the parts, the card and the check, for encoders and rerankers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sightline.checkpoint import layout
from sightline.checkpoint.adapters import merged
from sightline.checkpoint.card import may_write
from sightline.checkpoint.write import activation_path, write_checkpoint
from sightline.errors import CheckpointError
from sightline.models.card import Sketch, model_card
from sightline.models.verify import Answers, check_encoder, check_reranker
from sightline.modules.base import Module


def save_encoder(
    encoder: Any,
    folder: str | Path,
    *,
    truncate_dim: int | None = None,
    card: str | bool = True,
    merge: bool = False,
    verify: bool | Answers = True,
) -> None:
    """`Encoder.save_pretrained`, which see."""
    if truncate_dim is not None and not 1 <= truncate_dim <= encoder.embedding_dim:
        raise CheckpointError(
            f"truncate_dim must be between 1 and {encoder.embedding_dim}, not {truncate_dim}"
        )
    if encoder.multi_vector and (truncate_dim or encoder.truncate_dim):
        raise CheckpointError(
            "Sentence Transformers does not cut token vectors, so a saved truncate_dim would not hold there; "
            "save without it and give it to encode"
        )
    facts = layout.ModelFacts(
        model_type=layout.MULTI_VECTOR if encoder.multi_vector else layout.EMBEDDER,
        prompts=encoder.prompts,
        default_prompt_name=encoder.default_prompt_name,
        similarity_fn_name=encoder.similarity_fn_name,
        truncate_dim=truncate_dim or encoder.truncate_dim,
    )
    own = layout.dims_to_json(encoder.trained_dims)
    sketch = partial(sketch_encoder, cut=facts.truncate_dim)
    _save(
        encoder,
        Path(folder),
        facts,
        own,
        sketch,
        check_encoder,
        card=card,
        merge=merge,
        verify=verify,
    )


def save_reranker(
    reranker: Any,
    folder: str | Path,
    *,
    card: str | bool = True,
    merge: bool = False,
    verify: bool | Answers = True,
) -> None:
    """`Reranker.save_pretrained`, which see."""
    facts = layout.ModelFacts(
        prompts=reranker.prompts,
        default_prompt_name=reranker.default_prompt_name,
        model_type=layout.RERANKER,
        activation_fn=activation_path(reranker.activation),
    )
    # An adapter's folder has no config.json to say how many scores its head gives.
    own = {"labels": reranker.num_labels}
    _save(
        reranker,
        Path(folder),
        facts,
        own,
        sketch_reranker,
        check_reranker,
        card=card,
        merge=merge,
        verify=verify,
    )


def sketch_encoder(encoder: Any, *, cut: int | None = None) -> Sketch:
    """An encoder as its card shows it, saved with vectors cut to so many components."""
    return Sketch(
        kind="token vectors" if encoder.multi_vector else "vectors",
        name=encoder.name_or_path,
        modalities=encoder.modalities,
        dim=encoder.embedding_dim,
        similarity=encoder.similarity_fn_name,
        prompts=encoder.prompts,
        dims=encoder.trained_dims,
        cut=cut or encoder.truncate_dim,
    )


def sketch_reranker(reranker: Any) -> Sketch:
    """A reranker as its card shows it."""
    return Sketch(
        kind="scores",
        name=reranker.name_or_path,
        modalities=reranker.modalities,
        dim=reranker.num_labels,
        prompts=reranker.prompts,
    )


def own_card(model: Any, sketch: Callable[[Any], Sketch]) -> str:
    """The card a model is saved with: of its training, else the one it came with, else what can be seen of it."""
    if model.story is None and model.brought_card is not None:
        kept: str = model.brought_card.text
        return kept
    return model_card(sketch(model), model.story)


def _save(
    model: Any,
    folder: Path,
    facts: layout.ModelFacts,
    own: Mapping[str, Any],
    sketch: Callable[[Any], Sketch],
    check: Callable[..., None],
    *,
    card: str | bool,
    merge: bool,
    verify: bool | Answers,
) -> None:
    text = card if isinstance(card, str) else None
    if card is True and may_write(folder, model.brought_card):
        text = own_card(model, sketch)
    parts: Sequence[Module] = (
        merged(model.parts) if merge else [p for p in model.parts if isinstance(p, Module)]
    )
    given = verify if isinstance(verify, Answers) else None

    def compare(written: Path) -> None:
        check(model, facts, written, merged=merge, answers=given)

    write_checkpoint(folder, parts, facts, own=own, card=text, check=compare if verify else None)
