"""Tiny checkpoints of dual encoders: a tower for texts, a tower for images, one space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.st_folders import write
from support.tiny_models import TRAINING_TEXT, bert_tokenizer
from support.zoo.vision_language import GEMMA, GEMMA_NAMES, MEAN, TILE
from support.zoo.words import framed, gemma_words, name_class, save_model, save_words, vision

HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


def clip(folder: Path) -> Path:
    """CLIP with its own tokenizer; the text's vector is that of its end token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    raw = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    specials = ["<|startoftext|>", "<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=specials, end_of_word_suffix="</w>", show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    raw.train_from_iterator([text.lower() for text in TRAINING_TEXT], trainer)
    learned = json.loads(raw.to_str())["model"]
    tokenizer = CLIPTokenizer(
        vocab=learned["vocab"], merges=[tuple(pair) for pair in learned["merges"]], model_max_length=32
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    write(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": "CLIPProcessor",
            "size": {"shortest_edge": 32},
            "crop_size": TILE,
            "do_center_crop": True,
            **MEAN,
        },
    )
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 32, "projection_dim": 24,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    config = CLIPConfig(text_config=text, vision_config=vision(projection_dim=24), projection_dim=24)
    return save_model(folder, CLIPModel, config)


def _siglip_words(folder: Path, **settings: Any) -> dict[str, Any]:
    """Gemma's tokenizer as SigLIP 2 uses it (texts end with ``<eos>``); returns a text tower's settings."""
    raw = framed(gemma_words(GEMMA), None, "<eos>")
    tokenizer = save_words(folder, raw, limit=64, **GEMMA_NAMES, **settings)
    return {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 2,
        "eos_token_id": 1,
    }  # fmt: skip


def siglip(folder: Path) -> Path:
    """SigLIP, and SigLIP 2 at a fixed size, which is the same architecture: no attention mask for texts."""
    from transformers import SiglipConfig, SiglipModel

    text = _siglip_words(folder, model_input_names=["input_ids"])
    write(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "SiglipImageProcessor",
            "processor_class": "SiglipProcessor",
            "size": TILE,
            **HALF,
        },
    )
    return save_model(folder, SiglipModel, SiglipConfig(text_config=text, vision_config=vision()))


def siglip2(folder: Path) -> Path:
    """SigLIP 2 that keeps an image's proportions (NaFlex)."""
    from transformers import Siglip2Config, Siglip2Model

    text = _siglip_words(folder)
    write(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "Siglip2ImageProcessor",
            "processor_class": "Siglip2Processor",
            # Siglip2Processor passes these on every call, whatever the files say.
            "patch_size": 16,
            "max_num_patches": 256,
            **HALF,
        },
    )
    facts = {name: value for name, value in vision(patch_size=16).items() if name != "image_size"}
    config = Siglip2Config(text_config=text, vision_config={**facts, "num_patches": 256})
    return save_model(folder, Siglip2Model, config)


def _bert_files(folder: Path, kind: str, **settings: Any) -> int:
    size = bert_tokenizer(folder, limit=32)
    name_class(folder, "tokenizer_config.json", processor_class=f"{kind}Processor")
    write(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": f"{kind}ImageProcessor",
            "processor_class": f"{kind}Processor",
            **MEAN,
            **settings,
        },
    )
    return size


def blip(folder: Path) -> Path:
    """BLIP: a text, an image, or a text that looks at an image."""
    from transformers import BlipConfig, BlipModel

    text = {
        "vocab_size": _bert_files(folder, "Blip", size=TILE), "hidden_size": 32, "encoder_hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 32,
        "bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "initializer_range": 0.2,
    }  # fmt: skip
    seen = vision(initializer_range=0.02)
    return save_model(folder, BlipModel, BlipConfig(text_config=text, vision_config=seen, projection_dim=24))


def vilt(folder: Path) -> Path:
    """ViLT: one tower over words and patches, drawn in a random order."""
    from transformers import ViltConfig, ViltModel

    size = _bert_files(folder, "Vilt", size={"shortest_edge": 32}, size_divisor=8)
    facts = {name: value for name, value in vision().items() if name != "projection_dim"}
    return save_model(folder, ViltModel, ViltConfig(vocab_size=size, max_position_embeddings=32, **facts))
