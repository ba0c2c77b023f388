"""The reranker: a model that reads a query and a document together and says how well they fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sightline.checkpoint import layout
from sightline.checkpoint.rerankers import read_reranker
from sightline.checkpoint.write import activation_path, write_checkpoint
from sightline.errors import ConfigError
from sightline.inputs.collate import group_name
from sightline.inputs.pairs import PairProcessor, parse_pair
from sightline.models.devices import usable_device
from sightline.models.encode import Settings
from sightline.models.encoding_progress import Report
from sightline.models.items import Items
from sightline.models.loading import locate
from sightline.models.preprocess import Collator
from sightline.models.scoring import score_pairs
from sightline.modules.sequence_scores import SCORES, SequenceScores
from sightline.types import MicroBatch


class Reranker(nn.Module):
    """Scores pairs of a query and a document; a higher score is a better fit.

    Args:
        scorer: the part that turns a micro-batch of pairs into scores.
        activation: applied to the scores by `predict` and `rank`; by default a sigmoid for one label, nothing for
            several.
        prompts: prompt texts by name.
        default_prompt_name: the prompt used when none is named.
    """

    def __init__(
        self,
        scorer: SequenceScores,
        *,
        activation: nn.Module | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
    ) -> None:
        super().__init__()
        self.scorer = scorer
        self.activation = activation or (nn.Sigmoid() if scorer.labels == 1 else nn.Identity())
        self.prompts = dict(prompts or {})
        self.default_prompt_name = default_prompt_name
        self.name_or_path = ""
        if default_prompt_name is not None and default_prompt_name not in self.prompts:
            raise ConfigError(
                f"default_prompt_name {default_prompt_name!r} is not among the prompts {list(self.prompts)}"
            )

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        num_labels: int | None = None,
        activation: nn.Module | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None,
        config_kwargs: Mapping[str, Any] | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> Reranker:
        """Loads a reranker with a sequence classification head.

        It may have been saved by Sightline or Sentence Transformers 2 to 6, or be a bare transformers checkpoint. On
        a checkpoint without such a head (an embedding model, a bare encoder) a new one is put, to be trained.

        Args:
            name_or_path: folder, or name on the Hub.
            device: where it runs; by default a GPU if there is one.
            dtype: weights' type, such as ``"bfloat16"``; by default float32.
            num_labels: scores per pair of a new head; by default 1.
            activation: in place of the checkpoint's.
            model_kwargs: for ``AutoModelForSequenceClassification.from_pretrained``.
            processor_kwargs: for the tokenizer; ``model_max_length`` limits a pair's tokens.
            config_kwargs: for ``AutoConfig.from_pretrained``.
            prompts, default_prompt_name: win over the checkpoint's.
            trust_remote_code: run code that comes with the model; off unless you know the author.
            revision, token, cache_dir, local_files_only: as in huggingface_hub.

        Raises:
            CheckpointError: there is no such checkpoint, it cannot be read faithfully, or it is a reranker of
                another kind.
            ConfigError: this machine has no such device.
        """
        place = usable_device(device)
        folder, options = locate(
            name_or_path,
            dtype=dtype,
            model_kwargs=model_kwargs,
            processor_kwargs=processor_kwargs,
            config_kwargs=config_kwargs,
            trust_remote_code=trust_remote_code,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        checkpoint = read_reranker(folder, options, labels=num_labels, activation=activation)
        reranker = cls(
            checkpoint.scorer,
            activation=checkpoint.activation,
            prompts=checkpoint.facts.prompts | dict(prompts or {}),
            default_prompt_name=default_prompt_name or checkpoint.facts.default_prompt_name,
        )
        reranker.name_or_path = str(name_or_path)
        return reranker.to(place).eval()

    @property
    def num_labels(self) -> int:
        """Scores per pair."""
        return self.scorer.labels

    @property
    def max_tokens(self) -> int | None:
        """Tokens a pair is cut at, the longer side first, or None without a limit."""
        return self.scorer.processor.max_tokens

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    # From pairs to scores

    @property
    def preprocessor(self) -> PairProcessor:
        """What turns pairs into features; holds no weights and travels to worker processes."""
        return PairProcessor(self.scorer.processor)

    @property
    def collate(self) -> Collator:
        """``collate(features, indices) -> MicroBatch`` pads features once; it travels to worker processes too."""
        tokenizer = self.scorer.processor.tokenizer
        assert tokenizer is not None
        return Collator({"": tokenizer.pad_token_id or 0}, {"": self.scorer.padding_side}, self.packed_groups)

    @property
    def packed_groups(self) -> frozenset[str]:
        """The group of all pairs, where the model runs them without padding."""
        return frozenset({group_name("", "text")} if self.scorer.packs_text else ())

    def forward(self, micro_batch: MicroBatch) -> Tensor:
        """Scores one micro-batch on the model's device.

        Returns:
            scores (n, labels) before the activation, rows in the micro-batch's order; with a graph unless gradients
            are off.
        """
        features: dict[str, Any] = dict(micro_batch.to(self.device, non_blocking=True).features)
        scores_nL: Tensor = self.scorer(features)[SCORES]
        return scores_nL

    def prompt_for(self, prompt: str | None = None, prompt_name: str | None = None) -> str | None:
        """The prompt text that applies: the one given, the one named, or the default one.

        Raises:
            ConfigError: no prompt of that name.
        """
        if prompt is not None:
            return prompt
        name = prompt_name or self.default_prompt_name
        if name is None:
            return None
        if name not in self.prompts:
            raise ConfigError(f"no prompt named {name!r}; the model has {list(self.prompts) or 'none'}")
        return self.prompts[name]

    def predict(
        self,
        pairs: Any,
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
        token_budget: int | None = None,
        show_progress: bool | Report | None = None,
        bf16: bool = False,
    ) -> np.ndarray:
        """Scores pairs.

        Args:
            pairs: (query, document) pairs of texts, also from a generator; a single pair counts as a sequence of one.
            prompt: text put in front of each query.
            prompt_name: a prompt of the model's.
            activation: takes and gives scores (N,) or (N, labels); by default the model's.
            token_budget: padded positions per forward pass; by default what suits the device.
            show_progress: a progress bar, by default on a terminal, for work of more than a few seconds; or a
                function called with an `EncodingProgress`.
            bf16: matrix products in bfloat16.

        Returns:
            float32 scores, (N,) of a model with one label, else (N, labels), in the order of the pairs.

        Raises:
            InputError: something that is no pair of texts; names its position.
            ConfigError: no prompt of that name, a device without bfloat16.
        """
        values = [pairs] if _is_pair(pairs) else pairs
        items = Items(
            (parse_pair(value, source=f"pair {number}") for number, value in enumerate(values)),
            len(values) if isinstance(values, Sized) else None,
        )
        settings = Settings(
            prompt=self.prompt_for(prompt, prompt_name),
            token_budget=token_budget,
            bf16=bf16,
            progress=show_progress,
        )
        scores_NL = score_pairs(self, items, settings)
        scores = scores_NL[:, 0] if self.num_labels == 1 else scores_NL
        result: np.ndarray = (activation or self.activation)(scores).detach().float().cpu().numpy()
        return result

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_k: int | None = None,
        return_documents: bool = False,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """The documents in the order of their fit to a query, the best first.

        Args:
            query: a text.
            documents: texts.
            top_k: how many to return; by default all.
            return_documents: put the texts into the result.
            options: as in `predict`.

        Returns:
            ``{"corpus_id": position in documents, "score": float}`` each, with ``"text"`` where asked for; documents
            of equal score keep their order.

        Raises:
            ConfigError: the model gives several scores per pair, or ``top_k`` is below 1.
            InputError: something that is no text.
        """
        if self.num_labels != 1:
            raise ConfigError(
                f"the model gives {self.num_labels} scores per pair, so there is no order; use predict"
            )
        if top_k is not None and top_k < 1:
            raise ConfigError(f"top_k must be at least 1, not {top_k}")
        texts = list(documents)
        scores = self.predict([(query, text) for text in texts], **options)
        best = np.argsort(-scores, kind="stable")[:top_k]
        return [
            {"corpus_id": int(number), "score": float(scores[number])}
            | ({"text": texts[number]} if return_documents else {})
            for number in best
        ]

    # Training

    def activation_checkpointing_enable(self, *args: Any, **kwargs: Any) -> None:
        """Recomputes activations in the backward pass instead of keeping them; arguments as in transformers."""
        self.scorer.model.activation_checkpointing_enable(*args, **kwargs)

    # Saving

    def save_pretrained(self, folder: str | Path, *, card: str | None = None) -> None:
        """Writes the model so that Sightline and Sentence Transformers load it.

        Args:
            folder: a new folder, or one that holds a model to be replaced.
            card: text of README.md.

        Raises:
            CheckpointError: the format cannot express the model, or the folder holds something else.
        """
        facts = layout.ModelFacts(
            prompts=self.prompts,
            default_prompt_name=self.default_prompt_name,
            model_type=layout.RERANKER,
            activation_fn=activation_path(self.activation),
        )
        write_checkpoint(Path(folder), [self.scorer], facts, card=card)


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(one, str) for one in value)
