"""How a transformers model is called per modality: which method, which entry of its output.

Most models need no entry here: vision-language models and text encoders take everything through
``forward`` and give ``last_hidden_state``; dual encoders have ``get_text_features`` and its siblings.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args, get_type_hints

from transformers import (
    FeatureExtractionMixin,
    ImageProcessingMixin,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.utils import ModelOutput
from transformers.video_processing_utils import BaseVideoProcessor

from sightline.errors import CheckpointError
from sightline.inputs.processor import part_of
from sightline.inputs.video_settings import CarriedVideoSettings
from sightline.modules.call_table import Call, CallTable, Modality
from sightline.modules.quirks import quirk_of

_FORWARD = Call()
_PARTS = {
    "tokenizer": "text",
    "image_processor": "image",
    "feature_extractor": "audio",
    "video_processor": "video",
}


def infer_calls(model: PreTrainedModel, processor: Any) -> CallTable:
    """Call table of a checkpoint that does not say how it is called.

    Args:
        model: the loaded model; its forward's declared return type tells dual encoders apart.
        processor: tells the modalities and whether there is a chat template.

    Raises:
        CheckpointError: no modality can be found.
    """
    known = quirk_of(model.config.model_type).calls
    if known is not None:
        if chat_template(processor) and known.writes == "token_embeddings" and "message" not in known.calls:
            return CallTable({**known.calls, "message": _FORWARD}, known.writes)
        return known
    # Also what only a part that is missing here can prepare: the saved model is for other machines, too.
    modalities = processor_modalities(processor, carried=True)
    if not modalities:
        raise CheckpointError(f"cannot tell which inputs a {type(processor).__name__} takes")
    outputs = _output_fields(model.forward)
    if outputs is None or "last_hidden_state" in outputs:
        calls: dict[Modality, Call] = dict.fromkeys(modalities, _FORWARD)
        if chat_template(processor):
            calls["message"] = _FORWARD
        return CallTable(calls)
    features = {name: getattr(type(model), f"get_{name}_features", None) for name in modalities}
    return CallTable(
        {
            name: Call(
                f"get_{name}_features",
                "pooler_output" if "pooler_output" in (_output_fields(method) or ()) else None,
            )
            for name, method in features.items()
            if method is not None
        },
        "sentence_embedding",
    )


def processor_modalities(processor: Any, *, carried: bool = False) -> list[str]:
    """The base modalities a processor takes, found from its parts or its type.

    Args:
        carried: also those of parts that cannot be loaded here and are only carried along.
    """
    if isinstance(processor, ProcessorMixin):
        there = {
            name: part_of(processor, name) is not None
            or (carried and isinstance(vars(processor).get(name), CarriedVideoSettings))
            for name in _PARTS
        }
        return [modality for name, modality in _PARTS.items() if there[name]]
    kinds = (
        (PreTrainedTokenizerBase, "text"),
        (FeatureExtractionMixin, "audio"),
        (BaseVideoProcessor, "video"),  # before images, whose processors it descends from
        (ImageProcessingMixin, "image"),
    )
    return [modality for kind, modality in kinds if isinstance(processor, kind)][:1]


def chat_template(processor: Any) -> str | None:
    """The processor's chat template, or None."""
    if isinstance(processor, (ProcessorMixin, PreTrainedTokenizerBase)):
        template = processor.chat_template
        return template if isinstance(template, str) else None
    return None


def _output_fields(method: Any) -> list[str] | None:
    """Entries of the ModelOutput a method declares to return, or None when it declares none."""
    try:
        declared = get_type_hints(method).get("return")
    except (NameError, TypeError):
        return None
    found = _model_output(declared)
    return None if found is None else [field.name for field in fields(found)]


def _model_output(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, ModelOutput):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_output(part))), None)
