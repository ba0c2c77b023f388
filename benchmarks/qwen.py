"""A Qwen3-VL with random weights in any size, made of the tests' tiny one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Pages keep their size: 600x800 becomes 608x800, which is 1,900 patches and 475 tokens.
PIXELS = {"min_pixels": 28 * 28, "max_pixels": 640 * 832}

# A step of 16 triplets takes seconds on two cores.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "text": {
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "rope_parameters": {
            "rope_type": "default",
            "mrope_section": [12, 10, 10],
            "mrope_interleaved": True,
            "rope_theta": 5_000_000.0,
        },
    },
    "vision": {
        "depth": 4,
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_heads": 4,
        "out_hidden_size": 256,
        "num_position_embeddings": 2_304,
        "deepstack_visual_indexes": [1, 2],
    },
}

# The published configuration of Qwen3-VL-2B.
REAL_2B: Mapping[str, Mapping[str, Any]] = {
    "text": {
        "vocab_size": 151_936,
        "hidden_size": 2_048,
        "intermediate_size": 6_144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "rope_parameters": {
            "rope_type": "default",
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
            "rope_theta": 5_000_000.0,
        },
    },
    "vision": {
        "depth": 24,
        "hidden_size": 1_024,
        "intermediate_size": 4_096,
        "num_heads": 16,
        "out_hidden_size": 2_048,
        "num_position_embeddings": 2_304,
        "deepstack_visual_indexes": [5, 11, 17],
    },
}


def checkpoint(
    folder: Path,
    size: Mapping[str, Mapping[str, Any]] | None,
    *,
    pixels: Mapping[str, int] = PIXELS,
    dtype: str = "float32",
) -> Path:
    """Writes a checkpoint that both sides load; returns ``folder``.

    Args:
        folder: an existing one that was written whole is left as it is.
        size: `SMALL`, `REAL_2B`, or None for the tests' own few thousand weights.
        pixels: ``min_pixels`` and ``max_pixels`` of the image processor.
        dtype: of the weights.
    """
    done = folder / "done"
    if done.is_file():
        return folder
    import torch
    from transformers import AutoConfig, Qwen3VLForConditionalGeneration

    from sightline.models.encoder import Encoder

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support import tiny_models

    bare = folder.with_name(folder.name + "-bare")
    tiny_models.qwen3_vl(bare, **pixels)
    if size is not None:
        config = AutoConfig.from_pretrained(bare)
        for name, value in size["text"].items():
            setattr(config.text_config, name, value)
        for name, value in size["vision"].items():
            setattr(config.vision_config, name, value)
        torch.manual_seed(0)
        before = torch.get_default_dtype()
        torch.set_default_dtype(getattr(torch, dtype))
        try:
            model = Qwen3VLForConditionalGeneration(config)
        finally:
            torch.set_default_dtype(before)
        model.save_pretrained(bare)
        del model
    # With the modules written out (last token, unit length), so that both sides pool alike.
    Encoder.from_pretrained(bare, device="cpu", dtype=dtype).save_pretrained(folder)
    shutil.rmtree(bare)
    done.touch()
    return folder
