"""Tiny checkpoints of the Qwen-VL family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support import tiny_models
from support.st_folders import modules, write
from support.tiny_models import QWEN_SPECIAL, QWEN_TEMPLATE
from support.zoo.chat_templates import QWEN2_VL, QWEN3_VL_EMBEDDING
from support.zoo.words import byte_words, llama, save_model, save_words

THEIRS = "sentence_transformers."


def _files(folder: Path, processor: str, video: str, *, patch: int, template: str) -> dict[str, int]:
    """Tokenizer and processor files; returns the specials' ids and the vocabulary's ``size``."""
    tokenizer = save_words(
        folder, byte_words(QWEN_SPECIAL), limit=4096, template=template, tokenizer_class="Qwen2Tokenizer",
        eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=QWEN_SPECIAL[3:],
    )  # fmt: skip
    tile = (2 * patch) ** 2
    image: dict[str, Any] = {
        "size": {"shortest_edge": tile, "longest_edge": 4 * tile},
        "patch_size": patch,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27, 0.26, 0.28],
        "processor_class": processor,
    }
    write(folder / "preprocessor_config.json", image | {"image_processor_type": "Qwen2VLImageProcessor"})
    write(folder / "video_preprocessor_config.json", image | {"video_processor_type": video})
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in QWEN_SPECIAL}
    return {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "size": len(tokenizer),
    }


def _rope(section: list[int], **facts: Any) -> dict[str, Any]:
    return {"rope_type": "default", "mrope_section": section, "rope_theta": 10000.0, **facts}


def qwen2_vl(folder: Path) -> Path:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    facts = _files(folder, "Qwen2VLProcessor", "Qwen2VLVideoProcessor", patch=14, template=QWEN2_VL)
    config = Qwen2VLConfig(
        text_config=llama(facts.pop("size"), hidden_size=64, rope_parameters=_rope([2, 3, 3])),
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2,
                       "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2},
        tie_word_embeddings=True, **facts,
    )  # fmt: skip
    return save_model(folder, Qwen2VLForConditionalGeneration, config)


def qwen2_5_vl(folder: Path) -> Path:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    facts = _files(folder, "Qwen2_5_VLProcessor", "Qwen2VLVideoProcessor", patch=14, template=QWEN2_VL)
    config = Qwen2_5_VLConfig(
        text_config=llama(facts.pop("size"), hidden_size=64, rope_parameters=_rope([2, 3, 3])),
        vision_config={"depth": 2, "hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48, "num_heads": 2,
                       "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 56,
                       "fullatt_block_indexes": [1]},
        tie_word_embeddings=True, **facts,
    )  # fmt: skip
    return save_model(folder, Qwen2_5_VLForConditionalGeneration, config)


def qwen3_5(folder: Path) -> Path:
    """Linear attention in every layer but one, no deep vision features."""
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    facts = _files(folder, "Qwen3VLProcessor", "Qwen3VLVideoProcessor", patch=16, template=QWEN_TEMPLATE)
    config = Qwen3_5Config(
        text_config=llama(
            facts.pop("size"), hidden_size=64, head_dim=32, layer_types=["linear_attention", "full_attention"],
            linear_key_head_dim=8, linear_value_head_dim=8, linear_num_key_heads=2, linear_num_value_heads=4,
            rope_parameters=_rope([2, 1, 1], mrope_interleaved=True, partial_rotary_factor=0.25),
        ),
        vision_config={"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 16,
                       "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 64,
                       "num_position_embeddings": 64},
        tie_word_embeddings=True, **facts,
    )  # fmt: skip
    return save_model(folder, Qwen3_5ForConditionalGeneration, config)


def qwen3_vl(folder: Path) -> Path:
    return tiny_models.qwen3_vl(folder)


def qwen3_vl_embedding(folder: Path) -> Path:
    """Qwen3-VL-Embedding's own files: a Qwen3-VL whose template has an instruction, last-token pooling, unit length."""
    tiny_models.qwen3_vl(folder)
    write(folder / "chat_template.jinja", QWEN3_VL_EMBEDDING)
    modules(
        folder,
        ("", THEIRS + "base.modules.transformer.Transformer"),
        ("1_Pooling", THEIRS + "sentence_transformer.modules.pooling.Pooling"),
        ("2_Normalize", THEIRS + "base.modules.normalize.Normalize"),
    )
    call = {"method": "forward", "method_output_name": "last_hidden_state"}
    write(
        folder / "sentence_bert_config.json",
        {
            "transformer_task": "feature-extraction",
            "modality_config": dict.fromkeys(("text", "image", "video"), call)
            | {"message": call | {"format": "structured"}},
            "module_output_name": "token_embeddings",
            "processing_kwargs": {"chat_template": {"add_generation_prompt": True}},
        },
    )
    write(
        folder / "1_Pooling/config.json",
        {"embedding_dimension": 64, "pooling_mode": "lasttoken", "include_prompt": True},
    )
    (folder / "2_Normalize").mkdir()
    write(
        folder / "config_sentence_transformers.json",
        {
            "model_type": "SentenceTransformer",
            "prompts": {"query": "Find the page that answers the question.", "document": ""},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )
    return folder
