"""The embedding architectures of docs/models.md: how a tiny one is built, and what is expected of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support.zoo import dual, qwen, text, vision_language

MIXED = ("text", "image", "text+image", "message")


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes:
        name: as in the table.
        build: writes a tiny checkpoint of random weights, bare or with the real one's ST files.
        inputs: what it embeds; the rows of the table.
        pooling: what a bare checkpoint gets (None: the model pools by itself).
        video: its processor takes videos, too, for which ST needs torchvision to load it at all.
        bare: the checkpoint has no ST files.
        notes: input -> what there is to say about it in the table.
    """

    name: str
    build: Callable[[Path], Path]
    inputs: tuple[str, ...]
    pooling: str | None
    video: bool = False
    bare: bool = True
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.build.__name__

    @property
    def modalities(self) -> tuple[str, ...]:
        """What `Encoder.modalities` says, videos aside."""
        parts = {part for kind in self.inputs for part in kind.split("+")}
        return tuple(name for name in ("text", "image", "message") if name in parts)


_NEIGHBOURS = {
    "text": "ST pads the texts of a bare checkpoint to the longest of a batch, so that a vector depends on its "
    "neighbours; files written by Sightline ask for the full length, which both then follow"
}

ARCHITECTURES = {
    one.key: one
    for one in (
        Architecture("Qwen3-VL", qwen.qwen3_vl, MIXED, "lasttoken", video=True),
        Architecture(
            "Qwen3-VL-Embedding", qwen.qwen3_vl_embedding, MIXED, "lasttoken", video=True, bare=False
        ),
        Architecture("Qwen2.5-VL", qwen.qwen2_5_vl, MIXED, "lasttoken", video=True),
        Architecture("Qwen2-VL", qwen.qwen2_vl, MIXED, "lasttoken", video=True),
        Architecture("Qwen3.5", qwen.qwen3_5, MIXED, "lasttoken", video=True),
        Architecture("Idefics3", vision_language.idefics3, MIXED, "lasttoken"),
        Architecture("SmolVLM", vision_language.smolvlm, MIXED, "lasttoken", video=True),
        Architecture("PaliGemma", vision_language.paligemma, ("text+image",), "lasttoken"),
        Architecture("ModernVBERT", vision_language.modernvbert, MIXED, "mean"),
        Architecture("Gemma 3", vision_language.gemma3, MIXED, "lasttoken"),
        Architecture("LLaVA", vision_language.llava, MIXED, "lasttoken"),
        Architecture("LLaVA-OneVision", vision_language.llava_onevision, MIXED, "lasttoken", video=True),
        Architecture("InternVL", vision_language.internvl, MIXED, "lasttoken", video=True),
        Architecture("CLIP", dual.clip, ("text", "image"), None),
        Architecture("SigLIP", dual.siglip, ("text", "image"), None, notes=_NEIGHBOURS),
        Architecture("SigLIP 2 (NaFlex)", dual.siglip2, ("text", "image"), None, notes=_NEIGHBOURS),
        Architecture("BLIP", dual.blip, ("text", "image", "text+image"), None),
        Architecture("BERT", text.bert, ("text",), "mean"),
        Architecture("ModernBERT", text.modernbert, ("text",), "mean"),
        Architecture("XLM-RoBERTa", text.xlm_roberta, ("text",), "mean"),
        Architecture("MPNet", text.mpnet, ("text",), "mean"),
        Architecture("NomicBERT", text.nomic_bert, ("text",), "mean"),
        Architecture("T5 (encoder)", text.t5, ("text",), "mean"),
        Architecture("Qwen3-Embedding", text.qwen3, ("text",), "lasttoken", bare=False),
        Architecture("EmbeddingGemma", text.embedding_gemma, ("text",), "mean", bare=False),
    )
}
