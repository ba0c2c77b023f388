"""How a transformers model is called per modality: which method, which entry of its output.

Most models need no entry here: vision-language models and text encoders take everything through
``forward`` and give ``last_hidden_state``; dual encoders have ``get_text_features`` and its siblings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args, get_type_hints

from transformers import (
    FeatureExtractionMixin,
    ImageProcessingMixin,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.utils import ModelOutput

from sightline.errors import CheckpointError
from sightline.inputs.processor import part_of
from sightline.inputs.video_settings import CarriedVideoSettings

Modality = str | tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A method of the model and the path to the wanted entry of its output (None: the output itself)."""

    method: str = "forward"
    output: str | tuple[str | int, ...] | None = "last_hidden_state"


@dataclass(frozen=True)
class CallTable:
    """Calls per modality, and the feature they write.

    Attributes:
        calls: modality -> call. ``"message"`` stands for chat messages.
        writes: ``token_embeddings`` or ``sentence_embedding``.
    """

    calls: Mapping[Modality, Call]
    writes: str = "token_embeddings"

    def groups(self) -> dict[Modality, str]:
        """Modality -> name shared by modalities that may share a forward pass."""
        if "message" in self.calls:
            return dict.fromkeys(self.calls, "message")
        return {key: "+".join(key) if isinstance(key, tuple) else key for key in self.calls}


_FORWARD = Call()
_BOTH = ("image", "text")
_AUDIO = CallTable({"audio": _FORWARD})

# Model types the rules below get wrong, with the reason.
EXCEPTIONS: Mapping[str, CallTable] = {
    # forward needs text and image at once; each alone has a method of its own.
    "blip": CallTable(
        {
            "text": Call("get_text_features", "pooler_output"),
            "image": Call("get_image_features", "pooler_output"),
            _BOTH: Call("get_multimodal_features", "pooler_output"),
        },
        "sentence_embedding",
    ),
    # no text without an image
    "paligemma": CallTable({_BOTH: _FORWARD}),
    "kosmos-2": CallTable({_BOTH: _FORWARD}),
    "vilt": CallTable({_BOTH: _FORWARD}),
    # their processors carry a tokenizer for a decoder that is not used
    **dict.fromkeys(
        ("hubert", "moonshine", "sew", "sew-d", "unispeech", "unispeech-sat", "wav2vec2",
         "wav2vec2-conformer", "wavlm", "whisper"),
        _AUDIO,
    ),
}  # fmt: skip

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
    known = EXCEPTIONS.get(model.config.model_type)
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
