"""Every architecture that the general rules get wrong, with the reason. A test goes with each.

The rules: the processor's parts tell the modalities; ``forward`` takes them all and gives ``last_hidden_state``, or
there is a ``get_text_features`` and its siblings (`modules.calls`); the Auto class of the model type loads the model
(`checkpoint.backbones`); an item's features don't depend on its neighbours in the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sightline.modules.call_table import Call, CallTable


@dataclass(frozen=True)
class Quirk:
    """What is different about a model type.

    Attributes:
        reason: why.
        calls: how the model is called, in place of what would be inferred.
        encoder: the class that loads the encoder alone, by its path within transformers.
        image_mark: placeholder that stands for an image in front of its text.
        inside: where the encoder is in the whole model, for classes that read their own files only: whole models are
            loaded as they are and taken apart.
        pads_text: texts come at the full length of the text tower (``max_position_embeddings``).
    """

    reason: str
    calls: CallTable | None = None
    encoder: str | None = None
    image_mark: str = ""
    inside: str | None = None
    pads_text: bool = False


_FORWARD = Call()
_IMAGE_AND_TEXT = CallTable({("image", "text"): _FORWARD})
_AUDIO = CallTable({"audio": _FORWARD})
_DECODER_TOKENIZER = "its processor carries a tokenizer for a decoder or a vocabulary head that is not used"
_DECODER = "an encoder-decoder: the decoder would want inputs of its own, so the encoder alone is loaded"
_FULL_LENGTH = (
    "its text tower takes the last position of a text padded to full length as the text's vector, and was trained "
    "without an attention mask, so any other padding gives another vector"
)

QUIRKS: Mapping[str, Quirk] = {
    "blip": Quirk(
        "forward needs text and image at once; each alone has a method of its own",
        CallTable(
            {
                "text": Call("get_text_features", "pooler_output"),
                "image": Call("get_image_features", "pooler_output"),
                ("image", "text"): Call("get_multimodal_features", None),
            },
            "sentence_embedding",
        ),
    ),
    "paligemma": Quirk(
        "its processor refuses a text without an image, wants an image to have a text, and warns about every text "
        "in which it has to put the image's placeholder itself",
        _IMAGE_AND_TEXT,
        image_mark="<image>",
    ),
    "kosmos-2": Quirk("its processor refuses a text without an image", _IMAGE_AND_TEXT),
    "vilt": Quirk("its embeddings are those of a text and an image together", _IMAGE_AND_TEXT),
    "siglip": Quirk(_FULL_LENGTH, pads_text=True),
    "siglip2": Quirk(_FULL_LENGTH, pads_text=True),
    **dict.fromkeys(
        ("hubert", "sew", "sew-d", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-conformer", "wavlm"),
        Quirk(_DECODER_TOKENIZER, _AUDIO),
    ),
    "whisper": Quirk(
        _DECODER, _AUDIO, encoder="models.whisper.modeling_whisper.WhisperEncoder", inside="encoder"
    ),
    "moonshine": Quirk(
        _DECODER, _AUDIO, encoder="models.moonshine.modeling_moonshine.MoonshineEncoder", inside="encoder"
    ),
    "t5": Quirk(_DECODER, encoder="T5EncoderModel"),
    "mt5": Quirk(_DECODER, encoder="MT5EncoderModel"),
    "umt5": Quirk(_DECODER, encoder="UMT5EncoderModel"),
    "longt5": Quirk(_DECODER, encoder="LongT5EncoderModel"),
    "switch_transformers": Quirk(_DECODER, encoder="SwitchTransformersEncoderModel"),
}  # fmt: skip

# An architecture without quirks.
_NONE = Quirk("")


def quirk_of(model_type: str) -> Quirk:
    """What is different about a model type; an empty quirk for nearly all."""
    return QUIRKS.get(model_type, _NONE)
