"""Tiny random-weight checkpoints of real architectures, with tokenizers trained on the spot."""

from __future__ import annotations

import json
import re
from pathlib import Path

TRAINING_TEXT = [
    "The annual report shows revenue by region and a table of operating costs.",
    "How many employees worked in the northern plants in 2019?",
    "A diagram of the pump with its valves, seals and the pressure gauge.",
    "user assistant system query document page image figure 0 1 2 3 4 5 6 7 8 9",
]

QWEN_SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip

QWEN_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.content is string %}{{- message.content }}{%- else %}{%- for content in message.content %}"
    "{%- if content.type == 'image' or 'image' in content %}<|vision_start|><|image_pad|><|vision_end|>"
    "{%- elif content.type == 'video' or 'video' in content %}<|vision_start|><|video_pad|><|vision_end|>"
    "{%- elif 'text' in content %}{{- content.text }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def qwen3_vl(folder: Path, *, min_pixels: int = 28 * 28, max_pixels: int = 56 * 56, seed: int = 0) -> Path:
    """A Qwen3-VL of a few thousand weights with every part of the real one; returns ``folder``."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        TRAINING_TEXT,
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=QWEN_SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=4096,
        additional_special_tokens=QWEN_SPECIAL[3:],
    )
    tokenizer.chat_template = QWEN_TEMPLATE
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(QWEN_TEMPLATE)
    facts = json.loads((folder / "tokenizer_config.json").read_text())
    facts["tokenizer_class"] = "Qwen2Tokenizer"
    facts["processor_class"] = "Qwen3VLProcessor"
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    image = {
        "size": {"shortest_edge": min_pixels, "longest_edge": max_pixels},
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "Qwen3VLProcessor",
    }
    (folder / "preprocessor_config.json").write_text(
        json.dumps(image | {"image_processor_type": "Qwen2VLImageProcessorFast"})
    )
    (folder / "video_preprocessor_config.json").write_text(
        json.dumps(
            image
            | {
                "video_processor_type": "Qwen3VLVideoProcessor",
                "size": {"shortest_edge": 4096, "longest_edge": 65536},
            }
        )
    )
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in QWEN_SPECIAL}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True,
                                "rope_theta": 10000.0},
        },
        vision_config={
            "depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 16,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 64,
            "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(seed)
    Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    return folder


def bert_tokenizer(folder: Path, limit: int = 64) -> int:
    """Writes a BERT word-piece tokenizer into ``folder``; returns its size.

    Its pieces are the words of the text, their letters and pairs of letters. A trained vocabulary of so little text
    is another one in every process, because equally frequent pieces are taken in the order of a hash.
    """
    from transformers import BertTokenizerFast

    words = set(re.findall(r"\w+|[^\w\s]", " ".join(TRAINING_TEXT).lower()))
    starts = {word[:size] for word in words for size in (1, 2)}
    inner = {word[at : at + size] for word in words for at in range(1, len(word)) for size in (1, 2)}
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(words | starts)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join([*pieces, *sorted(f"##{piece}" for piece in inner)]) + "\n")
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=limit)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def bert(folder: Path, *, hidden: int = 32, dropout: float = 0.1, seed: int = 0) -> Path:
    """A two-layer BERT without Sentence Transformers files; returns ``folder``."""
    import torch
    from transformers import BertConfig, BertModel

    size = bert_tokenizer(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=size, hidden_size=hidden, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=64, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def qwen3(folder: Path, *, seed: int = 0) -> Path:
    """A two-layer Qwen3 language model without Sentence Transformers files; returns ``folder``."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    tokens = qwen3_vl(folder.with_name(folder.name + "-tokens"))
    tokenizer = AutoTokenizer.from_pretrained(tokens)
    tokenizer.chat_template = None
    tokenizer.padding_side = "left"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    facts = json.loads((folder / "tokenizer_config.json").read_text())
    facts.pop("processor_class", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=512,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


def vit(folder: Path, *, hidden: int = 32, seed: int = 0) -> Path:
    """A two-layer ViT with its image processor; returns ``folder``."""
    import torch
    from transformers import ViTConfig, ViTModel

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=hidden, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        image_size=64, patch_size=16,
    )  # fmt: skip
    ViTModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "ViTImageProcessor",
                "size": {"height": 64, "width": 64},
                "image_mean": [0.5, 0.4, 0.3],
                "image_std": [0.2, 0.3, 0.4],
            }
        )
    )
    return folder


def clip(folder: Path, *, seed: int = 0) -> Path:
    """A two-tower CLIP with its processor; returns ``folder``."""
    import torch
    from transformers import BertTokenizerFast, CLIPConfig, CLIPModel

    size = bert_tokenizer(folder, limit=32)
    facts = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(facts | {"processor_class": "CLIPProcessor"}))
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "CLIPImageProcessor",
                "processor_class": "CLIPProcessor",
                "size": {"shortest_edge": 64},
                "crop_size": {"height": 64, "width": 64},
                "image_mean": [0.48, 0.46, 0.41],
                "image_std": [0.27, 0.26, 0.28],
                "do_center_crop": True,
            }
        )
    )
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    torch.manual_seed(seed)
    config = CLIPConfig(
        text_config={"vocab_size": size, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                     "num_attention_heads": 2, "max_position_embeddings": 32, "projection_dim": 24,
                     "eos_token_id": tokenizer.sep_token_id, "pad_token_id": tokenizer.pad_token_id,
                     "bos_token_id": tokenizer.cls_token_id},
        vision_config={"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
                       "image_size": 64, "patch_size": 16, "projection_dim": 24},
        projection_dim=24,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder)
    return folder
