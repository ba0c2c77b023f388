"""Loading the transformers model of a checkpoint, with its processor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    ImageProcessingMixin,
    PretrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)
from transformers.video_processing_utils import BaseVideoProcessor

from sightline.checkpoint.adapters import base_folder, load_adapter, processor_folder
from sightline.checkpoint.inner import draws_no_masks, inner_model, is_whole, thinking
from sightline.checkpoint.options import LoadOptions
from sightline.checkpoint.processors import load_processor
from sightline.checkpoint.quantized import placement, settle_quantized
from sightline.errors import CheckpointError
from sightline.inputs.audio_features import audio_rules
from sightline.inputs.chat import infer_format
from sightline.inputs.frame_choice import FrameChoice
from sightline.inputs.pixels import PixelNormalization, find_film_normalization, find_normalization
from sightline.inputs.processor import ItemProcessor, part_of
from sightline.inputs.roles import RoleTexts
from sightline.inputs.shortcuts import take_shortcuts
from sightline.modules.backbone import Backbone
from sightline.modules.calls import CallTable, Modality, chat_template, infer_calls, processor_modalities
from sightline.modules.quirks import Quirk, quirk_of

# Facts of a backbone file that are passed on to from_pretrained, by their old and new names.
_KWARG_NAMES = {
    "model_kwargs": ("model_args", "model_kwargs"),
    "processor_kwargs": ("tokenizer_args", "processor_kwargs"),
    "config_kwargs": ("config_args", "config_kwargs"),
}


# Of `transformer_task`: models that give token vectors, projected and normalised.
RETRIEVAL = "retrieval"

# What transformers raises for a checkpoint it cannot read.
_LOADING_ERRORS = (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError)


def load_backbone(
    folder: Path,
    options: LoadOptions,
    *,
    facts: Mapping[str, Any] | None = None,
    table: CallTable | None = None,
) -> tuple[Backbone, str | None]:
    """The backbone in ``folder`` and, for a bare checkpoint, the pooling it needs.

    Args:
        folder: holds config.json, weights and the processor's files.
        options: the caller's arguments; they win over the checkpoint's.
        facts: content of ``sentence_bert_config.json``.
        table: how the model is called; None to find out.

    Returns:
        The backbone, and ``"lasttoken"``, ``"mean"`` or None (the model pools by itself).

    Raises:
        CheckpointError: not a checkpoint transformers can load.
    """
    facts = dict(facts or {})
    task = facts.get("transformer_task", "feature-extraction")
    if task not in ("feature-extraction", RETRIEVAL):
        raise CheckpointError(f"{folder}: made for the task {task!r}, so it gives no embeddings")
    kwargs = keyword_groups(facts, options)
    config = read_config(folder, kwargs, options)
    config = thinking(config)
    draws_no_masks(config, kwargs["config_kwargs"])
    quirk = quirk_of(config.model_type)
    whole = is_whole(config, quirk)
    loader: Any = AutoModel if quirk.encoder is None or whole else attrgetter(quirk.encoder)(transformers)
    if task == RETRIEVAL:
        loader, whole = _retrieval_class(config, folder), False
    elif loader is AutoModel:
        kwargs["model_kwargs"]["trust_remote_code"] = options.trust_remote_code
    model, missing = load_model(loader, folder, config, kwargs["model_kwargs"], options)
    if whole:
        model, missing = inner_model(model, quirk, missing)
    # transformers' pooler is excepted: encoders are rightly saved without it, and nothing here reads it.
    check_complete(folder, [name for name in missing if "pooler" not in name], "embeddings")
    arguments = processor_arguments(facts, kwargs)
    processor = load_processor(
        processor_folder(folder, options),
        config.model_type,
        **arguments,
        trust_remote_code=options.trust_remote_code,
    )
    table = table or infer_calls(model, processor)
    items = item_processor(processor, table, config, facts, arguments)
    texts = RoleTexts.from_facts(facts, str(folder))
    backbone = Backbone(model, items, table, task=task, texts=texts)
    return backbone, default_pooling(config) if table.writes == "token_embeddings" else None


def item_processor(
    processor: Any,
    table: CallTable,
    config: PretrainedConfig,
    facts: Mapping[str, Any],
    arguments: Mapping[str, Any],
) -> ItemProcessor:
    """What prepares items for a model: its processor, called in the checkpoint's way.

    Args:
        processor: transformers'.
        table: how the model is called.
        config: the model's.
        facts: content of ``sentence_bert_config.json``.
        arguments: those the processor was loaded with.
    """
    quirk = quirk_of(config.model_type)
    processing = _processing(facts, quirk, config)
    items = ItemProcessor(
        processor=processor,
        calls=_possible(table, processor),
        message_format=facts.get("modality_config", {}).get("message", {}).get("format")
        or infer_format(chat_template(processor)),
        processing_kwargs=processing,
        image_mark=quirk.image_mark,
        # Processors of retrieval models give images a layout of their own, which is left to them.
        normalization=None
        if facts.get("transformer_task") == RETRIEVAL
        else _normalization(processor, processing.get("image", {})),
        patch_size=_patch_size(config),
        audio=audio_rules(config.to_dict()),
        frames=_frame_choice(processor, config, processing.get("video", {})),
        film=_film_normalization(processor, processing.get("video", {})),
    )
    settle_tokenizer(items, config, facts, arguments)
    return items


def _retrieval_class(config: PretrainedConfig, folder: Path) -> Any:
    """transformers has no Auto class for them."""
    for name in config.architectures or []:
        if name.endswith("ForRetrieval") and (found := getattr(transformers, name, None)) is not None:
            return found
    raise CheckpointError(
        f"{folder}: made for the task {RETRIEVAL!r}, but its architecture {config.architectures} is none of "
        "transformers' retrieval models (ColPali, ColQwen2, ColModernVBert)"
    )


def keyword_groups(facts: Mapping[str, Any], options: LoadOptions) -> dict[str, dict[str, Any]]:
    """``model_kwargs``, ``processor_kwargs`` and ``config_kwargs``: the checkpoint's, under the caller's."""
    return {name: _merged(facts, name, getattr(options, name)) for name in _KWARG_NAMES}


def read_config(
    folder: Path, kwargs: Mapping[str, Mapping[str, Any]], options: LoadOptions
) -> PretrainedConfig:
    """The transformers configuration in ``folder``, for a model that is never asked to generate.

    Raises:
        CheckpointError: transformers cannot read it.
    """
    try:
        config = AutoConfig.from_pretrained(
            base_folder(folder, options),
            **kwargs["config_kwargs"],
            trust_remote_code=options.trust_remote_code,
        )
    except _LOADING_ERRORS as error:
        raise CheckpointError(f"{folder}: transformers cannot load it: {error}") from error
    _without_cache(config)
    return config


def load_model(
    loader: Any,
    folder: Path,
    config: PretrainedConfig,
    model_kwargs: Mapping[str, Any],
    options: LoadOptions,
) -> tuple[PreTrainedModel, list[str]]:
    """The model an Auto class (or a model class) reads from ``folder``, and the names of weights it found missing.

    An adapter in the folder is put into the model that it belongs to. Without weights (see `LoadOptions`) the model
    is on the meta device, and nothing but its shape is real.

    Raises:
        CheckpointError: transformers cannot load it.
        ConfigError: it is to be quantised, and cannot be here.
    """
    if not options.weights:
        return _shape(loader, folder, config, options), []
    place = placement(model_kwargs, config, options.device)
    home = base_folder(folder, options)
    try:
        model, loaded = loader.from_pretrained(
            home, config=config, output_loading_info=True, **place, **model_kwargs
        )
    except _LOADING_ERRORS as error:
        raise CheckpointError(f"{folder}: transformers cannot load it: {error}") from error
    settle_quantized(model)
    if home != folder:
        load_adapter(model, folder)
    return model, list(loaded["missing_keys"])


def _shape(loader: Any, folder: Path, config: PretrainedConfig, options: LoadOptions) -> PreTrainedModel:
    trust = {"trust_remote_code": True} if options.trust_remote_code else {}
    try:
        with torch.device("meta"):
            concrete = isinstance(loader, type) and issubclass(loader, PreTrainedModel)
            model: PreTrainedModel = loader(config) if concrete else loader.from_config(config, **trust)
    except _LOADING_ERRORS as error:
        raise CheckpointError(f"{folder}: transformers cannot load it: {error}") from error
    return model


def check_complete(folder: Path, missing: Iterable[str], what: str) -> None:
    """Refuses a model of which weights are missing: transformers would draw them at random and go on.

    Args:
        folder: for the message.
        missing: names of the missing weights.
        what: what the model gives, for the message: ``embeddings`` or ``scores``.
    """
    names = sorted(missing)
    if names:
        raise CheckpointError(
            f"{folder}: {len(names)} of the model's weights are not in the checkpoint ({names[0]} first), so its "
            f"{what} would be random; the download or the copy is incomplete, or config.json is another model's"
        )


def processor_arguments(facts: Mapping[str, Any], kwargs: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The processor's arguments, with the length limit ST 2 to 5 keep in a file of their own."""
    limit = {"model_max_length": facts["max_seq_length"]} if facts.get("max_seq_length") else {}
    return limit | kwargs["processor_kwargs"]


def settle_tokenizer(
    items: ItemProcessor, config: PretrainedConfig, facts: Mapping[str, Any], arguments: Mapping[str, Any]
) -> None:
    """Length limit and lower-casing as ST has them; ``arguments`` are those the processor was loaded with."""
    _limit_tokens(items, config, explicit="model_max_length" in arguments)
    if facts.get("do_lower_case"):
        _lower_case(items)
        items.lower_case = True
    take_shortcuts(items)


def default_pooling(config: PretrainedConfig) -> str:
    """``lasttoken`` for causal and vision-language decoders, whose last position alone has seen everything;
    ``mean`` for encoders, also those made of a decoder that looks both ways (EmbeddingGemma)."""
    both_ways = config.to_dict().get("use_bidirectional_attention") is True
    if config.is_encoder_decoder or both_ways or getattr(config, "is_causal", None) is False:
        return "mean"
    kind = config.model_type
    architecture = (config.architectures or [""])[0]
    causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if causal or architecture.endswith("ForCausalLM") or kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return "lasttoken"
    return "mean"


def _possible(table: CallTable, processor: Any) -> dict[Modality, str]:
    """The calls whose inputs the processor can prepare; a video call may lack its processor."""
    able = {*processor_modalities(processor), "message"}
    return {key: name for key, name in table.groups().items() if {key} <= able or set(key) <= able}


def _merged(facts: Mapping[str, Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for spelling in _KWARG_NAMES[name]:
        merged |= dict(facts.get(spelling) or {})
    # A checkpoint may not switch on running its own code.
    merged.pop("trust_remote_code", None)
    if "/" in str(merged.get("attn_implementation", "")):  # a kernel on the Hub is code, too
        merged.pop("attn_implementation")
    return merged | dict(given)


def _processing(
    facts: Mapping[str, Any], quirk: Quirk, config: PretrainedConfig
) -> dict[str, Mapping[str, Any]]:
    """Arguments of the processor's call: the checkpoint's, over what the architecture needs."""
    saved: dict[str, Mapping[str, Any]] = dict(facts.get("processing_kwargs", {}))
    if quirk.pads_text:
        length = config.get_text_config().to_dict().get("max_position_embeddings")
        saved["text"] = {"padding": "max_length", "max_length": length, **saved.get("text", {})}
    return saved


def _without_cache(config: PretrainedConfig) -> None:
    """Key-value caches are for generation; here they would cost memory at every step."""
    if "use_cache" in config.to_dict():
        config.use_cache = False
    for name in config.sub_configs:
        nested = getattr(config, name, None)
        if isinstance(nested, PretrainedConfig):
            _without_cache(nested)


def _normalization(processor: Any, overrides: Mapping[str, Any]) -> Any:
    if overrides:  # the checkpoint calls its processor in another way than the probe would
        return None
    image_processor = processor if isinstance(processor, ImageProcessingMixin) else None
    if isinstance(processor, BaseVideoProcessor):
        return None
    if isinstance(processor, ProcessorMixin):
        image_processor = part_of(processor, "image_processor")
    return None if image_processor is None else find_normalization(image_processor)


def _film_normalization(processor: Any, overrides: Mapping[str, Any]) -> PixelNormalization | None:
    videos = part_of(processor, "video_processor")
    return None if videos is None or overrides else find_film_normalization(videos)


def _frame_choice(
    processor: Any, config: PretrainedConfig, arguments: Mapping[str, Any]
) -> FrameChoice | None:
    videos = processor if isinstance(processor, BaseVideoProcessor) else part_of(processor, "video_processor")
    if videos is None:
        return None
    # Video encoders have a table of positions for so many frames and no others.
    fixed = config.to_dict().get("num_frames") if videos is processor else None
    return FrameChoice(videos, dict(arguments), fixed if isinstance(fixed, int) else None)


def _patch_size(config: PretrainedConfig) -> int:
    facts = config.to_dict()
    for source in (facts, facts.get("vision_config") or {}):
        if isinstance(source.get("patch_size"), int):
            return int(source["patch_size"])
    return 16


def _limit_tokens(items: ItemProcessor, config: PretrainedConfig, *, explicit: bool) -> None:
    """Cut at what the position table holds, where the tokenizer's own limit says more or nothing."""
    positions = config.to_dict().get("max_position_embeddings")
    if items.tokenizer is not None and not explicit and isinstance(positions, int) and positions > 0:
        items.tokenizer.model_max_length = min(items.tokenizer.model_max_length, positions)


def _lower_case(items: ItemProcessor) -> None:
    from tokenizers.normalizers import Lowercase, Sequence

    assert items.tokenizer is not None
    backend = items.tokenizer.backend_tokenizer
    before = [backend.normalizer] if backend.normalizer is not None else []
    backend.normalizer = Sequence([Lowercase(), *before])  # harmless where it stands there already
