"""The transformers model at the start of a pipeline, with the processor that feeds it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sightline.errors import CheckpointError
from sightline.inputs.audio_features import FEATURES, WAVEFORM
from sightline.inputs.collate import PaddingSide
from sightline.inputs.pixels import FILM_PIXELS, PIXELS
from sightline.inputs.processor import ItemProcessor
from sightline.inputs.roles import EXPANSION, IS_QUERY, RoleTexts
from sightline.modules.base import Module
from sightline.modules.calls import Call, CallTable, Modality
from sightline.modules.cpu import cpu_operators
from sightline.modules.flash import fitting_attention, runs_flash
from sightline.modules.packing import TextPacking, adopt_attention

# Entries of a micro-batch that are never arguments of the model: ours, and the labels that PaliGemma's processor
# makes up for a language modelling loss.
_OURS = frozenset(
    {"modality", "route", "fused", "prompt_length", "sentence_embedding", "token_embeddings", "labels"}
    | {IS_QUERY, EXPANSION}
)
# Floating-point inputs that come in float32, whatever the model computes in.
_FLOATS = (FEATURES, WAVEFORM, FILM_PIXELS)

# Feature that asks for hidden states of some layers, and the one that has them.
WANTED_LAYERS, LAYERS = "wanted_layers", "layer_embeddings"
# Feature with those of all layers, what goes into the first one at the front; ST's name.
EVERY_LAYER = "all_layer_embeddings"


class Backbone(Module):
    """Runs a transformers model and writes its hidden states (or its pooled features).

    Args:
        model: any model of transformers' Auto classes.
        processor: what prepares items for it.
        table: which method takes which modality.
        task: ST's transformer_task the checkpoint was saved with.
        texts: what texts of a late-interaction model get by their role.
    """

    kind: ClassVar[str] = "backbone"

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ItemProcessor,
        table: CallTable,
        *,
        task: str = "feature-extraction",
        texts: RoleTexts | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.processor = processor
        self.table = table
        self.task = task
        self.texts = texts or RoleTexts()
        self._arguments: dict[str, frozenset[str] | None] = {}
        self._adopted = False
        self.keeps_layers = False
        self._packing = TextPacking(_hidden_states)
        if self._expands_unseen and runs_flash(model):
            raise CheckpointError(
                "this model fills queries up with tokens its words do not see, which flash attention leaves out: "
                'load it with attn_implementation="sdpa"'
            )

    @property
    def output_dim(self) -> int:
        if self.task == "retrieval":  # these models project by themselves
            return int(self.model.config.to_dict()["embedding_dim"])
        return hidden_size(self.model.config, pooled=self.table.writes == "sentence_embedding")

    @property
    def padding_side(self) -> PaddingSide:
        return padding_side(self.model, self.processor.tokenizer)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return tuple(self.processor.calls)

    def keep_layers(self) -> None:
        """From now on writes the hidden states of all layers too; its ``config.json`` says so to ST."""
        self.keeps_layers = True
        self.model.config.output_hidden_states = True

    def facts(self) -> dict[str, Any]:
        """ST's ``sentence_bert_config.json``, as ST 5.4 and later write it."""
        return transformer_facts(self.task, self.table, self.processor) | self.texts.facts()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.model.modules():
            if isinstance(module, _BatchNorm):
                # CLAP's mel bins: statistics of a micro-batch would make a clip's vector depend on its neighbours.
                module.eval()
        return self

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        with cpu_operators(self.model), fitting_attention(self.model):
            return self._run(features)

    def _run(self, features: dict[str, Any]) -> dict[str, Any]:
        modality = features.get("modality", "text")
        call = self.table.calls[tuple(modality.split("+")) if "+" in modality else modality]
        method = getattr(self.model, call.method)
        arguments = self.accepted(call.method, features)
        if PIXELS in arguments:
            arguments[PIXELS] = self._pixels(arguments[PIXELS])
        if FILM_PIXELS in arguments and self.processor.film is not None:
            arguments[FILM_PIXELS] = self.processor.film(arguments[FILM_PIXELS])
        for name in _FLOATS:
            if name in arguments:
                arguments[name] = arguments[name].to(self.model.dtype)
        if not self._adopted:
            self._adopted = True
            adopt_attention(self.model)
        layers = features.get(WANTED_LAYERS)
        # Expansion tokens that nobody sees have vectors all the same, so they stand among the padding.
        packing = None
        if (
            call == Call()
            and not layers
            and not self.keeps_layers
            and not self._looks_out_of_padding(features)
        ):
            packing = self._packing.of(self.model, arguments)
        if packing is not None:
            value = packing.call(method, arguments, _hidden_states)
        else:
            output = self._output_of(call, arguments, layers=bool(layers) or self.keeps_layers)
            value = _entry(output, call.output)
            if layers:
                features[LAYERS] = [output.hidden_states[layer] for layer in layers]
            if self.keeps_layers:
                features[EVERY_LAYER] = output.hidden_states
        value = _rows(value)
        features[self.table.writes] = value
        mask = features.get("attention_mask")
        audio = self.processor.audio
        if WAVEFORM in arguments and mask is not None and audio.kernels and audio.padded:
            features["attention_mask"] = audio.frame_mask(mask, value.shape[1])
        return features

    def plain(self, call: Call, arguments: Mapping[str, Tensor]) -> Tensor:
        """What the model makes of prepared inputs, by transformers' own operators alone.

        For what follows the operators themselves, such as an export; `forward` is faster and gives the same.

        Args:
            call: an entry of the table.
            arguments: of the call, pixels finished.

        Returns:
            Hidden states (N, T, D), or pooled features (N, D).
        """
        return _rows(_entry(self._output_of(call, arguments), call.output))

    def _output_of(self, call: Call, arguments: Mapping[str, Tensor], *, layers: bool = False) -> Any:
        hidden_states = layers or (call.output is not None and "hidden_states" in call.output)
        return getattr(self.model, call.method)(
            **arguments,
            **({"return_dict": True} if self._returns_dict(call.method) else {}),
            **({"output_hidden_states": True} if hidden_states else {}),
        )

    @property
    def packs_text(self) -> bool:
        """Whether texts run without padding on the device the model is on; the first call tries it."""
        call = self.table.calls.get("message", self.table.calls.get("text"))
        packs = call == Call() and not self._expands_unseen and not self.keeps_layers
        return packs and self._packing.possible(self.model)

    @property
    def _expands_unseen(self) -> bool:
        return self.texts.expansion is not None and not self.texts.expansion.attend

    def _looks_out_of_padding(self, features: Mapping[str, Any]) -> bool:
        return self._expands_unseen and EXPANSION in features and bool(features[EXPANSION].any())

    def _pixels(self, pixels: Tensor) -> Tensor:
        # Not only uint8: an image whose resized pixels are no whole numbers stays float, and raw all the same.
        if self.processor.normalization is not None:
            pixels = self.processor.normalization(pixels)
        return pixels.to(self.model.dtype)

    def _returns_dict(self, method: str) -> bool:
        """Whether a method can be asked for an output with names; BLIP's for text and image gives a bare tensor."""
        names = self._names(method)
        return names is None or bool(names & {"return_dict", "kwargs"})

    def _names(self, method: str) -> frozenset[str] | None:
        if method not in self._arguments:
            parameters = inspect.signature(getattr(self.model, method)).parameters
            open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
            # A method of a base class behind **kwargs would swallow a misspelt name; only forward is trusted.
            free = open_ended and method == "forward"
            self._arguments[method] = None if free else frozenset(parameters)
        return self._arguments[method]

    def accepted(self, method: str, features: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the features that a method of the model takes."""
        names = self._names(method)
        return {
            name: value
            for name, value in features.items()
            if isinstance(value, Tensor) and name not in _OURS and (names is None or name in names)
        }


def transformer_facts(task: str, table: CallTable, processor: ItemProcessor) -> dict[str, Any]:
    """ST's ``sentence_bert_config.json`` of a transformers model: what it is for and how it is called."""
    facts: dict[str, Any] = {
        "transformer_task": task,
        "modality_config": {
            "+".join(key) if isinstance(key, tuple) else key: _call_facts(key, call, processor)
            for key, call in table.calls.items()
        },
        "module_output_name": table.writes,
    }
    if processor.lower_case:
        facts["do_lower_case"] = True
    if processor.processing_kwargs:
        facts["processing_kwargs"] = {key: dict(value) for key, value in processor.processing_kwargs.items()}
    return facts


def _call_facts(modality: Modality, call: Call, processor: ItemProcessor) -> dict[str, Any]:
    output = list(call.output) if isinstance(call.output, tuple) else call.output
    facts: dict[str, Any] = {"method": call.method, "method_output_name": output}
    return facts | ({"format": processor.message_format} if modality == "message" else {})


def padding_side(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> PaddingSide:
    """The tokenizer's side; right where positions are counted from the left edge of the row.

    Rotary positions are relative, so padding in front changes nothing; a learned position table would
    give the first real token another vector.
    """
    if tokenizer is None or tokenizer.padding_side != "left":
        return "right"
    named = [(name.lower(), part) for name, part in model.named_modules()]
    rotary = any("rotary" in name for name, _ in named)
    learned = any(isinstance(part, nn.Embedding) and "position" in name for name, part in named)
    return "left" if rotary and not learned else "right"


def _entry(output: Any, path: str | tuple[str | int, ...] | None) -> Tensor:
    for key in (path,) if isinstance(path, str) else path or ():
        # Some outputs of transformers (ChineseCLIP) have attributes but no keys.
        output = output[key] if isinstance(key, int) or isinstance(output, dict) else getattr(output, key)
    if not isinstance(output, Tensor):
        raise CheckpointError(f"the model's output {path!r} is a {type(output).__name__}, not a tensor")
    return output


def _rows(value: Tensor) -> Tensor:
    """(N, H * W, D) of a convolutional tower's (N, D, H, W); anything else as it is."""
    return value.flatten(2).transpose(1, 2) if value.ndim == 4 else value


def _hidden_states(output: Any) -> Tensor:
    return _entry(output, Call().output)


def hidden_size(config: Any, *, pooled: bool = False) -> int:
    """Dimension of a model's hidden states, or of its projected features.

    Raises:
        CheckpointError: the configuration names no size.
    """
    facts = config.to_dict()
    names = ["projection_dim"] if pooled else []
    names += ["hidden_size", "d_model", "hidden_dim", "dim", "n_embd"]
    nested = [facts.get(name) for name in ("text_config", "vision_config", "audio_config", "thinker_config")]
    sources = [facts, *nested]
    if not pooled:  # the language model's hidden states; PaliGemma 2 states another size at the top
        sources.insert(0, facts.get("text_config"))
    for source in (one for one in sources if isinstance(one, dict)):
        for name in names:
            if isinstance(source.get(name), int):
                return int(source[name])
        for name in ("neck_hidden_sizes", "hidden_sizes", "embed_dims"):
            if isinstance(source.get(name), list) and source[name]:
                return int(source[name][-1])
    raise CheckpointError(f"cannot find the hidden size in the configuration of {config.model_type}")
