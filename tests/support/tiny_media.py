"""Tiny random-weight checkpoints of architectures that hear and see films, in the layout of the real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.tiny_models import TRAINING_TEXT

RATE = 16_000
OMNI_SPECIAL = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
OMNI_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.content is string %}{{- message.content }}{%- else %}{%- for content in message.content %}"
    "{%- if content.type == 'image' or 'image' in content %}<|vision_bos|><|IMAGE|><|vision_eos|>"
    "{%- elif content.type == 'audio' or 'audio' in content %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{%- elif content.type == 'video' or 'video' in content %}<|vision_bos|><|VIDEO|><|vision_eos|>"
    "{%- elif 'text' in content %}{{- content.text }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def _speech(folder: Path, name: str, norm: str, seed: int, **more: Any) -> Path:
    """A two-layer speech encoder of the wav2vec 2 family with its feature extractor: 20 ms per frame."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config = getattr(transformers, f"{name}Config")(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        conv_dim=(16, 16, 16), conv_kernel=(10, 8, 4), conv_stride=(10, 8, 4), feat_extract_norm=norm,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, do_stable_layer_norm=norm == "layer",
        **more,
    )  # fmt: skip
    getattr(transformers, f"{name}Model")(config).save_pretrained(folder)
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.json").write_text(json.dumps({letter: n for n, letter in enumerate(letters)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    extractor = transformers.Wav2Vec2FeatureExtractor(
        sampling_rate=RATE, do_normalize=True, return_attention_mask=norm == "layer"
    )
    transformers.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    return folder


def wav2vec2(folder: Path, *, seed: int = 0) -> Path:
    """A wav2vec 2 normalised per frame, as the large models are: clips may be padded under a mask."""
    return _speech(folder, "Wav2Vec2", "layer", seed)


def wav2vec2_base(folder: Path, *, seed: int = 0) -> Path:
    """A wav2vec 2 normalised over time, as the base model is: padding would change what it hears."""
    return _speech(folder, "Wav2Vec2", "group", seed)


def hubert(folder: Path, *, seed: int = 0) -> Path:
    """A HuBERT normalised per frame."""
    return _speech(folder, "Hubert", "layer", seed)


def wavlm(folder: Path, *, seed: int = 0) -> Path:
    """A WavLM normalised per frame."""
    return _speech(folder, "WavLM", "layer", seed)


def whisper(folder: Path, *, seed: int = 0) -> Path:
    """A whole Whisper (encoder and decoder) that hears two seconds, with its processor."""
    import torch
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    folder.mkdir(parents=True, exist_ok=True)
    raw = _byte_pairs(["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"])
    vocabulary = json.loads(raw.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(vocabulary["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in vocabulary["merges"])
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges + "\n")
    tokenizer = WhisperTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=2, sampling_rate=RATE)
    WhisperProcessor(extractor, tokenizer).save_pretrained(folder)
    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=16, d_model=32, encoder_layers=2, encoder_attention_heads=2,
        encoder_ffn_dim=48, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=48,
        max_source_positions=100, max_target_positions=32, pad_token_id=0, bos_token_id=0, eos_token_id=0,
        decoder_start_token_id=1,
    )  # fmt: skip
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    return folder


def clap(folder: Path, *, seed: int = 0, fusion: bool = False) -> Path:
    """A two-tower CLAP with its processor."""
    import torch
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, RobertaTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    raw = _byte_pairs(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    vocabulary = json.loads(raw.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(vocabulary["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in vocabulary["merges"])
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges + "\n")
    tokenizer = RobertaTokenizerFast(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), model_max_length=60
    )
    extractor = ClapFeatureExtractor(
        feature_size=64, sampling_rate=RATE, hop_length=160, max_length_s=1, fft_window_size=256,
        frequency_max=8_000, truncation="fusion" if fusion else "rand_trunc", padding="repeatpad",
    )  # fmt: skip
    ClapProcessor(extractor, tokenizer).save_pretrained(folder)
    torch.manual_seed(seed)
    config = ClapConfig(
        text_config={"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2,
                     "num_attention_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64,
                     "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        audio_config={"hidden_dropout_prob": 0.0, "hidden_size": 32, "num_mel_bins": 64, "spec_size": 256,
                      "depths": [1, 1],
                      "num_attention_heads": [2, 2], "patch_embeds_hidden_size": 16, "num_hidden_layers": 2,
                      "window_size": 8, "enable_fusion": fusion,
                      "fusion_type": "aff_2d" if fusion else None},
        projection_dim=24,
    )  # fmt: skip
    ClapModel(config).save_pretrained(folder)
    return folder


def qwen2_5_omni(folder: Path, *, seed: int = 0) -> Path:
    """The thinker of a Qwen2.5-Omni: text, images, sound and video."""
    import torch
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2_5OmniThinkerConfig,
        Qwen2_5OmniThinkerForConditionalGeneration,
    )

    folder.mkdir(parents=True, exist_ok=True)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *OMNI_SPECIAL.values()]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_byte_pairs(special),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=16384,
        extra_special_tokens=OMNI_SPECIAL,
    )
    tokenizer.chat_template = OMNI_TEMPLATE
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(OMNI_TEMPLATE)
    facts = json.loads((folder / "tokenizer_config.json").read_text())
    facts |= {"tokenizer_class": "Qwen2Tokenizer", "processor_class": "Qwen2_5OmniProcessor"}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "processor_class": "Qwen2_5OmniProcessor",
                "image_processor_type": "Qwen2VLImageProcessor",
                "feature_extractor_type": "WhisperFeatureExtractor",
                "min_pixels": 28 * 28, "max_pixels": 56 * 56,
                "size": {"shortest_edge": 28 * 28, "longest_edge": 56 * 56},
                "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
                "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28],
                "feature_size": 16, "chunk_length": 2, "sampling_rate": RATE, "hop_length": 160, "n_fft": 400,
                "return_attention_mask": True,
            }
        )
    )  # fmt: skip
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in OMNI_SPECIAL.items()}
    torch.manual_seed(seed)
    config = Qwen2_5OmniThinkerConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 16384,
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 10000.0},
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 14,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 64, "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        audio_config={
            "num_mel_bins": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 48,
            "d_model": 32, "n_window": 20, "max_source_positions": 100, "output_dim": 64,
        },
        image_token_index=ids["image_token"],
        video_token_index=ids["video_token"],
        audio_token_index=ids["audio_token"],
        audio_start_token_id=ids["audio_bos_token"],
        audio_end_token_id=ids["audio_eos_token"],
        vision_start_token_id=ids["vision_bos_token"],
        vision_end_token_id=ids["vision_eos_token"],
    )  # fmt: skip
    Qwen2_5OmniThinkerForConditionalGeneration(config).save_pretrained(folder)
    return folder


def qwen2_audio(folder: Path, *, seed: int = 0) -> Path:
    """A Qwen2-Audio that hears two seconds, with the template its processor brings along."""
    import torch
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )

    folder.mkdir(parents=True, exist_ok=True)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_byte_pairs(special),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=4096,
        additional_special_tokens=special[3:],
    )
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=2, sampling_rate=RATE)
    Qwen2AudioProcessor(extractor, tokenizer).save_pretrained(folder)
    facts = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(facts | {"tokenizer_class": "Qwen2Tokenizer"}))
    torch.manual_seed(seed)
    config = Qwen2AudioConfig(
        audio_config={"num_mel_bins": 16, "encoder_layers": 2, "encoder_attention_heads": 2,
                      "encoder_ffn_dim": 48, "d_model": 32, "max_source_positions": 100},
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), "hidden_size": 64,
                     "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
                     "num_key_value_heads": 2, "max_position_embeddings": 4096},
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )  # fmt: skip
    Qwen2AudioForConditionalGeneration(config).save_pretrained(folder)
    return folder


def videomae(folder: Path, *, seed: int = 0) -> Path:
    """A two-layer VideoMAE of four frames with its video processor."""
    import torch
    from transformers import VideoMAEConfig, VideoMAEModel

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config = VideoMAEConfig(
        image_size=32, patch_size=16, num_frames=4, tubelet_size=2, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=48,
    )  # fmt: skip
    VideoMAEModel(config).save_pretrained(folder)
    (folder / "video_preprocessor_config.json").write_text(
        json.dumps(
            {
                "video_processor_type": "VideoMAEVideoProcessor",
                "size": {"shortest_edge": 36},
                "crop_size": {"height": 32, "width": 32},
            }
        )
    )
    return folder


def _byte_pairs(special: list[str]) -> Any:
    """A byte-level tokenizer trained on the spot."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        TRAINING_TEXT,
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    return raw
