"""Tiny checkpoints of vision-language models besides the Qwen-VL family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.st_folders import write
from support.zoo.chat_templates import GEMMA3, IDEFICS3, INTERNVL, LLAVA, LLAVA_ONEVISION
from support.zoo.words import byte_words, framed, gemma_words, llama, save_model, save_words, vision

MEAN = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
TILE = {"height": 32, "width": 32}
GEMMA = ("<pad>", "<eos>", "<bos>", "<unk>")
GEMMA_NAMES = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}


def _idefics3_files(folder: Path, kind: str) -> tuple[int, int]:
    """Files of Idefics3 and SmolVLM: tiles of 32 x 32 of an image of up to 64; returns vocabulary size and image id."""
    rows = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    specials = ["<|im_end|>", "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>",
                "<global-img>", *rows]  # fmt: skip
    tokenizer = save_words(
        folder, byte_words(specials), template=IDEFICS3, pad_token="<|im_end|>", bos_token="<|im_start|>",
        eos_token="<end_of_utterance>", additional_special_tokens=specials[3:],
    )  # fmt: skip
    write(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": f"{kind}ImageProcessor",
            "processor_class": f"{kind}Processor",
            "size": {"longest_edge": 64},
            "max_image_size": {"longest_edge": 32},
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        },
    )
    write(folder / "processor_config.json", {"image_seq_len": 4, "processor_class": f"{kind}Processor"})
    return len(tokenizer), tokenizer.convert_tokens_to_ids("<image>")


def idefics3(folder: Path) -> Path:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    size, image = _idefics3_files(folder, "Idefics3")
    config = Idefics3Config(
        text_config={"model_type": "llama", **llama(size)},
        vision_config=vision(),
        image_token_id=image,
        scale_factor=2,
    )
    return save_model(folder, Idefics3ForConditionalGeneration, config)


def smolvlm(folder: Path) -> Path:
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    size, image = _idefics3_files(folder, "SmolVLM")
    write(
        folder / "video_preprocessor_config.json",
        {
            "video_processor_type": "SmolVLMVideoProcessor",
            "size": {"longest_edge": 64},
            "max_image_size": {"longest_edge": 32},
            "num_frames": 4,
            "fps": 1,
        },
    )
    config = SmolVLMConfig(
        text_config={"model_type": "llama", **llama(size)},
        vision_config=vision(),
        image_token_id=image,
        scale_factor=2,
    )
    return save_model(folder, SmolVLMForConditionalGeneration, config)


def paligemma(folder: Path) -> Path:
    """No chat template: an image and a text at once, and nothing else."""
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

    tokenizer = save_words(
        folder, gemma_words([*GEMMA, "<image>"]), named={"image_token": "<image>"}, **GEMMA_NAMES
    )
    write(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "SiglipImageProcessor",
            "processor_class": "PaliGemmaProcessor",
            "size": TILE,
            "image_seq_length": 16,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        },
    )
    config = PaliGemmaConfig(
        text_config={"model_type": "gemma", **llama(len(tokenizer), head_dim=8)},
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **vision()},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=32,
        # As in the files of PaliGemma 2, where it isn't the language model's.
        hidden_size=48,
    )
    return save_model(folder, PaliGemmaForConditionalGeneration, config)


def gemma3_text(size: int, **facts: Any) -> dict[str, Any]:
    """Settings of Gemma 3's language model with a sliding and a full layer."""
    return llama(
        size, head_dim=8, sliding_window=16, query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention"], **facts,
    )  # fmt: skip


def gemma3(folder: Path) -> Path:
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    images = ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
    raw = gemma_words([*GEMMA, *images, "<start_of_turn>", "<end_of_turn>"])
    tokenizer = save_words(
        folder, framed(raw, "<bos>", None), template=GEMMA3, side="left", **GEMMA_NAMES,
        named=dict(zip(("boi_token", "eoi_token", "image_token"), images)),
    )  # fmt: skip
    write(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "Gemma3ImageProcessor",
            "processor_class": "Gemma3Processor",
            "size": TILE,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        },
    )
    write(folder / "processor_config.json", {"image_seq_length": 4, "processor_class": "Gemma3Processor"})
    begin, end, soft = tokenizer.convert_tokens_to_ids(images)
    config = Gemma3Config(
        text_config=gemma3_text(len(tokenizer)),
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **vision()},
        mm_tokens_per_image=4,
        boi_token_index=begin,
        eoi_token_index=end,
        image_token_index=soft,
    )
    save_model(folder, Gemma3ForConditionalGeneration, config)
    # transformers draws the projection of images as zeros.
    model = Gemma3ForConditionalGeneration.from_pretrained(folder)
    with torch.no_grad():
        model.model.multi_modal_projector.mm_input_projection_weight.normal_(std=0.2)
    model.save_pretrained(folder)
    return folder


def llava(folder: Path) -> Path:
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    specials = ["<pad>", "<s>", "</s>", "<image>"]
    tokenizer = save_words(
        folder, framed(byte_words(specials), "<s>", None), template=LLAVA, side="left", pad_token="<pad>",
        bos_token="<s>", eos_token="</s>", named={"image_token": "<image>"},
    )  # fmt: skip
    write(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": "LlavaProcessor",
            "size": {"shortest_edge": 32},
            "crop_size": TILE,
            "do_center_crop": True,
            **MEAN,
        },
    )
    write(
        folder / "processor_config.json",
        {
            "patch_size": 8,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
            "image_token": "<image>",
            "processor_class": "LlavaProcessor",
        },
    )
    config = LlavaConfig(
        text_config={"model_type": "llama", **llama(len(tokenizer))},
        vision_config={"model_type": "clip_vision_model", **vision(projection_dim=24)},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    return save_model(folder, LlavaForConditionalGeneration, config)


CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML_NAMES = {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"}


def llava_onevision(folder: Path) -> Path:
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    media = ["<image>", "<video>"]
    tokenizer = save_words(
        folder, byte_words([*CHATML, *media]), template=LLAVA_ONEVISION, **CHATML_NAMES,
        named={"image_token": media[0], "video_token": media[1]},
    )  # fmt: skip
    grid = [[32, 32], [32, 64], [64, 32], [64, 64]]
    shared = {"processor_class": "LlavaOnevisionProcessor", "size": TILE, **MEAN}
    write(
        folder / "preprocessor_config.json",
        {"image_processor_type": "LlavaOnevisionImageProcessor", "image_grid_pinpoints": grid, **shared},
    )
    write(
        folder / "video_preprocessor_config.json",
        {"video_processor_type": "LlavaOnevisionVideoProcessor", **shared},
    )
    write(
        folder / "processor_config.json",
        {
            "num_image_tokens": 16,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": "anyres_max_9",
            "processor_class": "LlavaOnevisionProcessor",
        },
    )
    image, video = tokenizer.convert_tokens_to_ids(media)
    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **llama(len(tokenizer))},
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **vision()},
        image_token_index=image,
        video_token_index=video,
        image_grid_pinpoints=grid,
    )
    return save_model(folder, LlavaOnevisionForConditionalGeneration, config)


def internvl(folder: Path) -> Path:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    media = ["<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
    names = ("start_image_token", "end_image_token", "context_image_token", "video_token")
    tokenizer = save_words(
        folder,
        byte_words([*CHATML, *media]),
        template=INTERNVL,
        named=dict(zip(names, media)),
        **CHATML_NAMES,
    )
    shared = {"processor_class": "InternVLProcessor", "size": TILE, **MEAN}
    write(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "GotOcr2ImageProcessor",
            "crop_to_patches": True,
            "max_patches": 4,
            **shared,
        },
    )
    write(
        folder / "video_preprocessor_config.json",
        {"video_processor_type": "InternVLVideoProcessor", **shared},
    )
    write(folder / "processor_config.json", {"image_seq_length": 4, "processor_class": "InternVLProcessor"})
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **llama(len(tokenizer))},
        vision_config=vision(image_size=[32, 32], patch_size=[8, 8]),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    return save_model(folder, InternVLForConditionalGeneration, config)


def modernvbert(folder: Path) -> Path:
    """A vision-language encoder: ModernBERT looks at the image both ways."""
    from transformers import ModernVBertConfig, ModernVBertModel

    size, image = _idefics3_files(folder, "Idefics3")
    text = {
        "model_type": "modernbert", "vocab_size": size, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 4, "num_attention_heads": 2, "max_position_embeddings": 512, "local_attention": 16,
        "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    tower = {"model_type": "siglip_vision_model", "vision_use_head": False, **vision()}
    config = ModernVBertConfig(
        text_config=text, vision_config=tower, image_token_id=image, pixel_shuffle_factor=2
    )
    return save_model(folder, ModernVBertModel, config)
