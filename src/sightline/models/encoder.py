"""The embedding model: one class for text, vision-language, dual and composed models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sightline.checkpoint import layout
from sightline.checkpoint.adapters import merged
from sightline.checkpoint.card import Brought, brought_card
from sightline.checkpoint.read import read_checkpoint
from sightline.errors import ConfigError
from sightline.models import anatomy
from sightline.models.adapters import LoRA, add_adapters
from sightline.models.card import Story
from sightline.models.devices import floating_dtype, usable_device
from sightline.models.encode import Settings, encode_items
from sightline.models.encoding_progress import Report
from sightline.models.items import items_of
from sightline.models.loading import locate, name_bases
from sightline.models.modalities import modalities_of, supports
from sightline.models.preprocess import Collator, Preprocessor
from sightline.models.projection import Projected
from sightline.models.prompts import check_default, choose_prompt
from sightline.models.routing import compose, match_types, merged_prompts
from sightline.models.saving import save_encoder
from sightline.models.sharing import push
from sightline.models.similarity import similarity, similarity_name, similarity_pairwise
from sightline.models.verify import Answers
from sightline.modules.backbone import Backbone
from sightline.modules.base import Module
from sightline.modules.router import RouteKey, Router
from sightline.modules.token_pooling import TokenPooling
from sightline.types import Embeddings, MicroBatch

if TYPE_CHECKING:
    from peft import PeftConfig


class Encoder(Projected):
    """An embedding model: one vector per item, or one per token (late interaction).

    Args:
        parts: in order; the first is a Backbone or a Router.
        prompts: prompt texts by name.
        default_prompt_name: the prompt `encode` uses when none is named.
        similarity_fn_name: ``cosine``, ``dot``, ``euclidean`` or ``manhattan``; of token vectors ``maxsim`` or
            ``meanmaxsim``.
        truncate_dim: embeddings are cut to this many components by `encode`.
    """

    def __init__(
        self,
        parts: Sequence[Module],
        *,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        similarity_fn_name: str | None = None,
        truncate_dim: int | None = None,
    ) -> None:
        super().__init__()
        if not parts or not isinstance(parts[0], (Backbone, Router)):
            raise ConfigError("an encoder starts with a Backbone or a Router")
        self.parts = nn.ModuleList(parts)
        self.prompts = dict(prompts or {})
        self.default_prompt_name = default_prompt_name
        self.similarity_fn_name = similarity_name(similarity_fn_name, multi_vector=self.multi_vector)
        anatomy.settle(parts)
        self.truncate_dim = truncate_dim
        self.name_or_path = ""
        self.trained_dims: tuple[int, ...] = ()  # prefixes that Matryoshka training made good, widest first
        self.story: Story | None = None  # of its training, for the card it is saved with
        self.brought_card: Brought | None = None
        check_default(self.prompts, default_prompt_name)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        truncate_dim: int | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None,
        config_kwargs: Mapping[str, Any] | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        similarity_fn_name: str | None = None,
        multi_vector: bool | int = False,
        trust_remote_code: bool = False,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> Encoder:
        """Loads a model saved by Sightline or Sentence Transformers 2 to 6, or a bare transformers checkpoint.

        Args:
            name_or_path: folder, or name on the Hub.
            device: where it runs; by default a GPU if there is one.
            dtype: weights' type, such as ``"bfloat16"``; by default float32.
            truncate_dim: cut embeddings to this many components.
            model_kwargs: for ``AutoModel.from_pretrained`` (``attn_implementation``, ``dtype``, ...).
            processor_kwargs: for the processor (``min_pixels``, ``max_pixels``, ``model_max_length``, ...); they
                are saved with the model.
            config_kwargs: for ``AutoConfig.from_pretrained``.
            prompts, default_prompt_name, similarity_fn_name: win over the checkpoint's.
            multi_vector: make a late-interaction model of a checkpoint that pools, or of a bare one: a vector per
                token, through a projection that is new where the checkpoint has none, to 128 components or to the
                number given. One that is saved as such is known without it.
            trust_remote_code: run code that comes with the backbone; off unless you know the author.
            revision, token, cache_dir, local_files_only: as in huggingface_hub.

        Raises:
            CheckpointError: there is no such checkpoint, or it cannot be read faithfully.
            ConfigError: this machine has no such device.
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
        checkpoint = read_checkpoint(folder, options, multi_vector=multi_vector)
        encoder = cls(
            checkpoint.parts,
            prompts=checkpoint.facts.prompts | dict(prompts or {}),
            default_prompt_name=default_prompt_name or checkpoint.facts.default_prompt_name,
            similarity_fn_name=similarity_fn_name or checkpoint.facts.similarity_fn_name,
            truncate_dim=truncate_dim or checkpoint.facts.truncate_dim,
        )
        encoder.name_or_path = str(name_or_path)
        encoder.trained_dims = layout.dims_from_json(checkpoint.own)
        encoder.brought_card = brought_card(
            folder, layout.MULTI_VECTOR if encoder.multi_vector else layout.EMBEDDER
        )
        name_bases(encoder, folder, name_or_path)
        match_types(list(encoder.parts))
        return encoder.to(place).eval()

    @classmethod
    def from_routes(
        cls,
        routes: Mapping[str, Encoder],
        *,
        mappings: Mapping[RouteKey, str] | None = None,
        default: str | None = None,
        fusion: Mapping[str, float] | None = None,
        dim: int | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
    ) -> Encoder:
        """Composes encoders into one: a route per modality, per role, or for both together.

        Args:
            routes: name -> encoder, which is taken over, not copied; see `models.routing.compose` for names.
            mappings, default, fusion, dim: see there.
            prompts, default_prompt_name: in place of the encoders' own.

        Raises:
            ConfigError: encoders that cannot be composed, or compared; says why and what to do.
        """
        router = compose(routes, mappings=mappings, default=default, fusion=fusion, dim=dim)
        own = merged_prompts(routes, given=prompts, default=default_prompt_name)
        first = next(iter(routes.values()))
        encoder = cls([router], **own, similarity_fn_name=first.similarity_fn_name)
        encoder.name_or_path = " + ".join(dict.fromkeys(one.name_or_path for one in routes.values()))
        return encoder.to(first.device).train(first.training)

    # What the model takes and gives

    @property
    def modalities(self) -> tuple[str, ...]:
        """Base modalities, and ``message`` where chat messages are taken; found from the processors."""
        return modalities_of(self.backbones().values())

    def supports(self, modality: str | Iterable[str]) -> bool:
        """Whether items of a modality, or of several together, can be embedded."""
        wanted = {modality} if isinstance(modality, str) else set(modality)
        return supports(self.backbones().values(), anatomy.table_of(list(self.parts)), wanted)

    def backbones(self) -> dict[str, Backbone]:
        """Backbones by route; the single one of a model without a router under ``""``."""
        return anatomy.backbones_of(list(self.parts))

    @property
    def multi_vector(self) -> bool:
        """Whether it gives a vector per token, compared by MaxSim."""
        return anatomy.gives_tokens(list(self.parts))

    @property
    def embedding_dim(self) -> int:
        """Components of a vector before truncation."""
        return anatomy.dimension_of(list(self.parts))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return floating_dtype(self)

    # From items to vectors

    @property
    def preprocessor(self) -> Preprocessor:
        """What turns items into features; holds no weights and travels to worker processes."""
        return anatomy.preprocessor_of(list(self.parts))

    @property
    def collate(self) -> Collator:
        """``collate(features, indices) -> MicroBatch`` pads features once; it travels to worker processes too."""
        return anatomy.collator_of(list(self.parts), self.packed_groups)

    @property
    def packed_groups(self) -> frozenset[str]:
        """Groups of items whose texts run without padding on the model's device (see `inputs.planning.plan`)."""
        return anatomy.packed_groups_of(list(self.parts))

    def forward(self, micro_batch: MicroBatch) -> Embeddings:
        """Embeds one micro-batch on the model's device, at full dimension.

        Returns:
            Embeddings (n, D), or (n, T, D) with a mask, rows in the micro-batch's order; with a graph unless
            gradients are off. See `Projected.run` for what a micro-batch may ask for besides.
        """
        features = dict(micro_batch.to(self.device, non_blocking=True).features)
        return self.run(features, list(self.parts), micro_batch)

    def prompt_for(
        self, role: str | None, prompt: str | None = None, prompt_name: str | None = None
    ) -> str | None:
        """The prompt text that applies: the one given, the one named, the role's, or the default one.

        Raises:
            ConfigError: no prompt of that name.
        """
        return choose_prompt(self.prompts, role, self.default_prompt_name, prompt, prompt_name)

    def encode(
        self,
        inputs: Any,
        *,
        role: str | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        token_budget: int | None = None,
        show_progress: bool | Report | None = None,
        truncate_dim: int | None = None,
        normalize: bool = False,
        bf16: bool = False,
        token_pooling: TokenPooling | None = None,
        output: str | Path | None = None,
    ) -> Embeddings:
        """Embeds inputs.

        Args:
            inputs: one input or an iterable of any length, read as it is needed: str, path, URL, image, bytes,
                array, dict of modalities, chat messages or Item. A single str, image or dict counts as one.
            role: ``query`` or ``document``.
            prompt: text put in front of each input.
            prompt_name: a prompt of the model's.
            token_budget: padded positions per forward pass; by default what suits the device.
            show_progress: a progress bar, by default on a terminal, for work of more than a few seconds; or a
                function that gets an `EncodingProgress` after every forward pass.
            truncate_dim: keep the first components only; by default the model's ``truncate_dim``.
            normalize: scale to unit length.
            bf16: matrix products in bfloat16, which is much faster where the hardware has it (GPUs; CPUs with
                AVX512-BF16 or AMX); vectors stay float32, within cosine 0.9999 of what they are without.
            token_pooling: merges like token vectors, for a smaller index; by default of documents only.
            output: a ``.npy`` file for the vectors, which then do not stay in memory; what is returned reads
                from it.

        Returns:
            Embeddings (N, D) on the CPU, in the order of the inputs; of a multi-vector model (N, T, D) with a mask,
            each item's real tokens first.

        Raises:
            InputError: an input the model does not take; names its position.
            ConfigError: a setting that cannot be followed.
        """
        settings = Settings(
            role=role,
            prompt=self.prompt_for(role, prompt, prompt_name),
            token_budget=token_budget,
            dim=truncate_dim or self.truncate_dim,
            normalize=normalize,
            bf16=bf16,
            token_pooling=token_pooling,
            output=output,
            progress=show_progress,
        )
        settings.check(self.embedding_dim, multi_vector=self.multi_vector)
        return encode_items(self, items_of(inputs, self.modalities), settings)

    def encode_query(self, inputs: Any, **options: Any) -> Embeddings:
        """`encode` with the role and prompt of queries."""
        return self.encode(inputs, role="query", **options)

    def encode_document(self, inputs: Any, **options: Any) -> Embeddings:
        """`encode` with the role and prompt of documents."""
        return self.encode(inputs, role="document", **options)

    def similarity(self, first: Embeddings | Tensor, second: Embeddings | Tensor) -> Tensor:
        """Similarity (len(first), len(second)) by the model's measure; larger is more alike.

        MaxSim asks with ``first``.

        Raises:
            InputError: vectors of different dimensions.
        """
        return similarity(self.similarity_fn_name, first, second)

    def similarity_pairwise(self, first: Embeddings | Tensor, second: Embeddings | Tensor) -> Tensor:
        """Similarity (P,) of each vector with the one at its place in the other set.

        Raises:
            InputError: vectors of different dimensions, sets of different sizes.
        """
        return similarity_pairwise(self.similarity_fn_name, first, second)

    # Training

    def add_adapter(
        self, adapter: LoRA | PeftConfig | None = None, *, routes: Sequence[str] | None = None
    ) -> None:
        """Freezes the backbone and puts a LoRA adapter into it, to be trained; the heads are trained as before.

        Args:
            adapter: by default `LoRA()`; settings of peft are taken too.
            routes: of a composed model those to adapt; by default all.

        Raises:
            ConfigError: see `models.adapters.add_adapter`; or no such route.
        """
        add_adapters({name: one.model for name, one in self.backbones().items()}, adapter, routes)
        self.brought_card = None

    def merge_adapter(self) -> None:
        """Works the adapter into the weights in place; what is left is an ordinary model, all of it trainable."""
        self.parts = nn.ModuleList(merged(self.parts)).requires_grad_()

    def activation_checkpointing_enable(self, *args: Any, **kwargs: Any) -> None:
        """Recomputes activations in the backward pass instead of keeping them; arguments as in transformers."""
        for backbone in self.backbones().values():
            backbone.model.activation_checkpointing_enable(*args, **kwargs)

    # Saving

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        truncate_dim: int | None = None,
        card: str | bool = True,
        merge: bool = False,
        verify: bool | Answers = True,
    ) -> None:
        """Writes the model so that Sightline and Sentence Transformers load it.

        Args:
            folder: a new folder, or one that holds a model to be replaced.
            truncate_dim: dimension the loaded model cuts its embeddings to.
            card: text of README.md, in the place of any. By default one is written of what is known of the model
                and its training; one written by hand that is in the folder stays. False writes none.
            merge: work an adapter into the weights, for a model that needs no other; else it is saved alone.
            verify: read what was written and compare vectors (see `verify`), with a second copy in memory meanwhile;
                or the vectors to compare with, of `verify.answers_of`.

        Raises:
            CheckpointError: the folder holds something else, or what was written is not this model.
        """
        save_encoder(self, folder, truncate_dim=truncate_dim, card=card, merge=merge, verify=verify)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Saves the model and uploads it; options, result and errors as of `sharing.push`."""
        return push(self, repo_id, **options)
