"""A model without its weights: what it takes, how it prepares it, and nothing to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sightline.checkpoint.language_heads import Head, HeadChoice
from sightline.checkpoint.options import LoadOptions
from sightline.checkpoint.read import read_checkpoint
from sightline.checkpoint.rerankers import read_reranker
from sightline.models.encoder import Encoder
from sightline.models.loading import locate
from sightline.models.reranker import Reranker


def encoder_shape(
    name_or_path: str | Path,
    *,
    dtype: str | torch.dtype | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    processor_kwargs: Mapping[str, Any] | None = None,
    prompts: Mapping[str, str] | None = None,
    default_prompt_name: str | None = None,
    multi_vector: bool | int = False,
    trust_remote_code: bool = False,
    revision: str | None = None,
) -> Encoder:
    """A checkpoint read without the weights of its backbone, in a second or two whatever its size.

    Its `preprocessor`, `collate`, `modalities` and `prompts` are those of the whole model; it cannot encode.

    Args:
        name_or_path: folder, or name on the Hub; of that the weights are fetched all the same.
        dtype, model_kwargs, processor_kwargs, prompts, default_prompt_name, multi_vector, trust_remote_code, revision:
            as `Encoder.from_pretrained`.

    Raises:
        CheckpointError: as `Encoder.from_pretrained`, as far as it shows without weights.
    """
    folder, options = _without_weights(
        name_or_path, dtype, model_kwargs, processor_kwargs, trust_remote_code, revision
    )
    checkpoint = read_checkpoint(folder, options, multi_vector=multi_vector)
    encoder = Encoder(
        checkpoint.parts,
        prompts=checkpoint.facts.prompts | dict(prompts or {}),
        default_prompt_name=default_prompt_name or checkpoint.facts.default_prompt_name,
        similarity_fn_name=checkpoint.facts.similarity_fn_name,
        truncate_dim=checkpoint.facts.truncate_dim,
    )
    encoder.name_or_path = str(name_or_path)
    return encoder.eval()


def reranker_shape(
    name_or_path: str | Path,
    *,
    head: Head | None = None,
    preset: str | None = None,
    answers: tuple[str, str] | None = None,
    default_prompt_name: str | None = None,
    dtype: str | torch.dtype | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    processor_kwargs: Mapping[str, Any] | None = None,
    prompts: Mapping[str, str] | None = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
) -> Reranker:
    """The same of a reranker, saved or with a new head: it prepares pairs and cannot score them.

    Args:
        name_or_path: folder, or name on the Hub; of that the weights are fetched all the same.
        head, preset, answers, default_prompt_name, dtype, model_kwargs, processor_kwargs, prompts, trust_remote_code,
            revision: as `Reranker.from_pretrained`.

    Raises:
        CheckpointError: as `Reranker.from_pretrained`, as far as it shows without weights.
        ConfigError: no such preset or prompt.
    """
    folder, options = _without_weights(
        name_or_path, dtype, model_kwargs, processor_kwargs, trust_remote_code, revision
    )
    choice = HeadChoice(head, None, preset, answers)
    checkpoint = read_reranker(folder, options, choice)
    reranker = Reranker(
        checkpoint.parts,
        activation=checkpoint.activation,
        prompts=checkpoint.facts.prompts | dict(prompts or {}),
        default_prompt_name=default_prompt_name or checkpoint.facts.default_prompt_name,
    )
    reranker.name_or_path = str(name_or_path)
    return reranker.eval()


def _without_weights(
    name_or_path: str | Path,
    dtype: str | torch.dtype | None,
    model_kwargs: Mapping[str, Any] | None,
    processor_kwargs: Mapping[str, Any] | None,
    trust_remote_code: bool,
    revision: str | None,
) -> tuple[Path, LoadOptions]:
    """The checkpoint's folder, and how to read it without the weights of its backbone."""
    folder, options = locate(
        name_or_path,
        dtype=dtype,
        model_kwargs=model_kwargs,
        processor_kwargs=processor_kwargs,
        config_kwargs=None,
        trust_remote_code=trust_remote_code,
        revision=revision,
        token=None,
        cache_dir=None,
        local_files_only=False,
    )
    return folder, replace(options, weights=False)
