"""The reranker: a model that reads a query and a document together and says how well they fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sightline.checkpoint import layout
from sightline.checkpoint.adapters import merged
from sightline.checkpoint.card import Brought, brought_card
from sightline.checkpoint.language_heads import Head, HeadChoice
from sightline.checkpoint.rerankers import read_reranker
from sightline.errors import ConfigError
from sightline.inputs.collate import group_name
from sightline.inputs.pairs import PairProcessor, is_pair_item, parse_pair
from sightline.inputs.parse import parse
from sightline.models.adapters import LoRA, add_adapters
from sightline.models.card import Story
from sightline.models.devices import floating_dtype, usable_device
from sightline.models.encode import Settings
from sightline.models.encoding_progress import Report
from sightline.models.items import Items
from sightline.models.loading import locate, name_bases
from sightline.models.preprocess import Collator
from sightline.models.prompts import check_default
from sightline.models.routing import match_types
from sightline.models.saving import save_reranker
from sightline.models.scoring import score_pairs
from sightline.models.sharing import push
from sightline.models.verify import Answers
from sightline.modules.backbone import Backbone
from sightline.modules.base import Module
from sightline.modules.language_model import LanguageModel
from sightline.modules.layer_pooling import connect_layers
from sightline.modules.sequence_scores import SCORES, SequenceScores
from sightline.types import MicroBatch

if TYPE_CHECKING:
    from peft import PeftConfig


class Reranker(nn.Module):
    """Scores pairs of a query and a document, each of any modality the model reads; a higher score is a better fit.

    Args:
        parts: what turns a micro-batch of pairs into ``scores`` (n, labels): a `SequenceScores`; a `LanguageModel` and
            a `LogitScore`; or a `Backbone` with parts of which the last is a `Dense` that writes ``scores``.
        activation: applied to the scores by `predict` and `rank`; by default a sigmoid for one label, nothing for
            several.
        prompts: prompt texts by name.
        default_prompt_name: the prompt used when none is named.
    """

    def __init__(
        self,
        parts: Sequence[Module],
        *,
        activation: nn.Module | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        connect_layers(parts)
        self.activation = activation or (nn.Sigmoid() if self.num_labels == 1 else nn.Identity())
        self.prompts = dict(prompts or {})
        self.default_prompt_name = default_prompt_name
        self.name_or_path = ""
        self.story: Story | None = None  # of its training, for the card it is saved with
        self.brought_card: Brought | None = None
        check_default(self.prompts, default_prompt_name)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        head: Head | None = None,
        preset: str | None = None,
        answers: tuple[str, str] | None = None,
        num_labels: int | None = None,
        activation: nn.Module | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
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
        """Loads a reranker, or makes one of another checkpoint.

        A reranker may have been saved by Sightline or Sentence Transformers 2 to 6, or be a bare transformers
        checkpoint for sequence classification. On anything else a head is put: a language model answers with a word
        and is a reranker at once; an embedding model or a bare encoder gets a head of random weights, to be trained.

        Args:
            name_or_path: folder, or name on the Hub.
            head: of a checkpoint that is no reranker: ``"classification"`` (transformers' head for sequence
                classification); ``"answer"`` (a language model's log-odds of a yes and a no token); ``"pooled"``
                (pooling and a linear layer, which for a language model begins as the difference of the two tokens'
                vectors in its head and so gives the same log-odds). By default ``"answer"`` for language models,
                ``"classification"`` for others.
            preset: chat template and words of a language model, by name (`checkpoint.presets`); by default its own
                template where that carries a pair, else the preset made for its type.
            answers: the words that say that the document fits and that it does not, each one token; by default the
                preset's, or "yes" and "no".
            num_labels: scores per pair of a new head; by default 1.
            activation: in place of the checkpoint's.
            device: where it runs; by default a GPU if there is one.
            dtype: weights' type, such as ``"bfloat16"``; by default float32.
            model_kwargs: for the Auto class's ``from_pretrained``.
            processor_kwargs: for the processor; ``model_max_length`` limits a pair's tokens, ``max_pixels`` an image.
            config_kwargs: for ``AutoConfig.from_pretrained``.
            prompts, default_prompt_name: win over the checkpoint's.
            trust_remote_code: run code that comes with the model; off unless you know the author.
            revision, token, cache_dir, local_files_only: as in huggingface_hub.

        Raises:
            CheckpointError: there is no such checkpoint, it cannot be read faithfully, or cannot take pairs.
            ConfigError: this machine has no such device; no preset of that name.
        """
        place = usable_device(device)
        folder, options = locate(
            name_or_path,
            device=place,
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
        checkpoint = read_reranker(
            folder, options, HeadChoice(head, num_labels, preset, answers), activation=activation
        )
        reranker = cls(
            checkpoint.parts,
            activation=checkpoint.activation,
            prompts=checkpoint.facts.prompts | dict(prompts or {}),
            default_prompt_name=default_prompt_name or checkpoint.facts.default_prompt_name,
        )
        reranker.name_or_path = str(name_or_path)
        reranker.brought_card = brought_card(folder, layout.RERANKER)
        name_bases(reranker, folder, name_or_path)
        match_types(checkpoint.parts)
        return reranker.to(place).eval()

    @property
    def backbone(self) -> SequenceScores | LanguageModel | Backbone:
        """The part that holds the transformers model (``backbone.model``) and its processor."""
        first = self.parts[0]
        assert isinstance(first, (SequenceScores, LanguageModel, Backbone))
        return first

    @property
    def num_labels(self) -> int:
        """Scores per pair."""
        last = self.parts[-1]
        assert isinstance(last, Module)
        assert last.output_dim is not None
        return last.output_dim

    @property
    def max_tokens(self) -> int | None:
        """Tokens a pair is cut at, or None without a limit."""
        return self.backbone.processor.max_tokens

    @property
    def modalities(self) -> tuple[str, ...]:
        """What either side of a pair may hold, alone or together."""
        return self.preprocessor.modalities

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return floating_dtype(self)

    # From pairs to scores

    @property
    def preprocessor(self) -> PairProcessor:
        """What turns pairs into features; holds no weights and travels to worker processes."""
        return PairProcessor(self.backbone.processor)

    @property
    def collate(self) -> Collator:
        """``collate(features, indices) -> MicroBatch`` pads features once; it travels to worker processes too."""
        tokenizer = self.backbone.processor.tokenizer
        assert tokenizer is not None
        return Collator(
            {"": tokenizer.pad_token_id or 0}, {"": self.backbone.padding_side}, self.packed_groups
        )

    @property
    def packed_groups(self) -> frozenset[str]:
        """The group of all pairs, where the model runs pairs of texts without padding."""
        calls = self.backbone.processor.calls
        group = group_name("", "message" if "message" in calls else "text")
        return frozenset({group} if self.backbone.packs_text else ())

    def forward(self, micro_batch: MicroBatch) -> Tensor:
        """Scores one micro-batch on the model's device.

        Returns:
            scores (n, labels) before the activation, rows in the micro-batch's order; with a graph unless gradients
            are off.
        """
        features: dict[str, Any] = dict(micro_batch.to(self.device, non_blocking=True).features)
        for part in self.parts:
            features = part(features)
        scores_nL: Tensor = features[SCORES]
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
            pairs: (query, document) pairs, also from a generator; a single pair counts as a sequence of one.
                Either side is as of `Encoder.encode`: text, path, URL, image, array, dict of modalities.
            prompt: an instruction: the system message of a model with a chat template, elsewhere text put in front
                of each query.
            prompt_name: a prompt of the model's.
            activation: takes and gives scores (N,) or (N, labels); by default the model's.
            token_budget: padded positions per forward pass; by default what suits the device.
            show_progress: a progress bar, by default on a terminal, for work of more than a few seconds; or a
                function called with an `EncodingProgress`.
            bf16: matrix products in bfloat16.

        Returns:
            float32 scores, (N,) of a model with one label, else (N, labels), in the order of the pairs.

        Raises:
            InputError: something that is no pair of what the model reads; names its position and side.
            MediaError: an image, audio or video that cannot be opened.
            ConfigError: no prompt of that name, a device without bfloat16.
        """
        values = [pairs] if is_one_pair(pairs) else pairs
        taken = self.modalities
        items = Items(
            (
                parse_pair(value, source=f"pair {number}", modalities=taken)
                for number, value in enumerate(values)
            ),
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
        query: Any,
        documents: Iterable[Any],
        *,
        top_k: int | None = None,
        return_documents: bool = False,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """The documents in the order of their fit to a query, the best first.

        Args:
            query: a text, or anything else the model reads.
            documents: likewise, one after another.
            top_k: how many to return; by default all.
            return_documents: put the documents into the result, as they were given.
            options: as in `predict`.

        Returns:
            ``{"corpus_id": position in documents, "score": float}`` each, where asked for with the document under
            ``"text"``; documents of equal score keep their order.

        Raises:
            ConfigError: the model gives several scores per pair, or ``top_k`` is below 1.
            InputError: something the model does not read; names its position and side.
        """
        if self.num_labels != 1:
            raise ConfigError(
                f"the model gives {self.num_labels} scores per pair, so there is no order; use predict"
            )
        if top_k is not None and top_k < 1:
            raise ConfigError(f"top_k must be at least 1, not {top_k}")
        candidates = list(documents)
        side = parse(query, source="query", modalities=self.modalities)  # once, not with every document
        scores = self.predict([(side, one) for one in candidates], **options)
        best = np.argsort(-scores, kind="stable")[:top_k]
        return [
            {"corpus_id": int(number), "score": float(scores[number])}
            | ({"text": candidates[number]} if return_documents else {})
            for number in best
        ]

    # Training

    def add_adapter(self, adapter: LoRA | PeftConfig | None = None) -> None:
        """Freezes the model and puts a LoRA adapter into it, to be trained; the head is trained as a whole.

        Args:
            adapter: by default `LoRA()`; settings of peft are taken too.

        Raises:
            ConfigError: see `models.adapters.add_adapter`.
        """
        add_adapters({"": self.backbone.model}, adapter)
        self.brought_card = None

    def merge_adapter(self) -> None:
        """Works the adapter into the weights in place; what is left is an ordinary model, all of it trainable."""
        self.parts = nn.ModuleList(merged(self.parts)).requires_grad_()

    def activation_checkpointing_enable(self, *args: Any, **kwargs: Any) -> None:
        """Recomputes activations in the backward pass instead of keeping them; arguments as in transformers."""
        self.backbone.model.activation_checkpointing_enable(*args, **kwargs)

    # Saving

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        card: str | bool = True,
        merge: bool = False,
        verify: bool | Answers = True,
    ) -> None:
        """Writes the model so that Sightline and Sentence Transformers load it.

        Args:
            folder: a new folder, or one that holds a model to be replaced.
            card: text of README.md, in the place of any. By default one is written of what is known of the model
                and its training; one written by hand that is in the folder stays. False writes none.
            merge: work an adapter into the weights, for a model that needs no other; else it is saved alone.
            verify: read what was written and compare scores (see `verify`), with a second copy in memory meanwhile;
                or the scores to compare with, of `verify.answers_of`.

        Raises:
            CheckpointError: the format cannot express the model, the folder holds something else, or what was
                written is not this model.
        """
        save_reranker(self, folder, card=card, merge=merge, verify=verify)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Saves the model and uploads it; options, result and errors as of `sharing.push`."""
        return push(self, repo_id, **options)


def is_one_pair(value: Any) -> bool:
    """Whether a value is one pair rather than several, which are lists, tuples or items of `parse_pair`."""
    if not isinstance(value, (list, tuple)):
        return is_pair_item(value)
    return len(value) == 2 and not any(isinstance(one, (list, tuple)) or is_pair_item(one) for one in value)
