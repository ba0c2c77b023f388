"""Tiny checkpoints of text models."""

from __future__ import annotations

from pathlib import Path

from support import tiny_models
from support.st_folders import modules, write
from support.tiny_models import QWEN_SPECIAL, TRAINING_TEXT
from support.zoo.vision_language import GEMMA, GEMMA_NAMES, gemma3_text
from support.zoo.words import byte_words, framed, gemma_words, llama, name_class, save_model, save_words

THEIRS = "sentence_transformers."


def bert(folder: Path) -> Path:
    return tiny_models.bert(folder)


def modernbert(folder: Path) -> Path:
    """Local and global attention, no segment ids."""
    from transformers import ModernBertConfig, ModernBertModel

    marks = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}
    raw = framed(byte_words(list(marks.values())), "[CLS]", "[SEP]")
    tokenizer = save_words(
        folder, raw, limit=128, **{f"{name}_token": token for name, token in marks.items()},
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    config = ModernBertConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=2,
        max_position_embeddings=128, local_attention=16, pad_token_id=3, cls_token_id=1, sep_token_id=2,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return save_model(folder, ModernBertModel, config)


def xlm_roberta(folder: Path) -> Path:
    """Pieces of SentencePiece; positions are counted from behind the padding id."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizer

    raw = Tokenizer(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=specials, unk_token="<unk>", show_progress=False
    )
    raw.train_from_iterator(TRAINING_TEXT, trainer)
    pieces = sorted(raw.get_vocab().items(), key=lambda item: item[1])
    vocabulary = [(piece, -0.01 * number) for piece, number in pieces] + [("<mask>", 0.0)]
    tokenizer = XLMRobertaTokenizer(vocab=vocabulary, model_max_length=64)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=66, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    return save_model(folder, XLMRobertaModel, config)


def mpnet(folder: Path) -> Path:
    """A bias by relative position, computed from the row's length."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import MPNetConfig, MPNetModel, MPNetTokenizer

    raw = BertWordPieceTokenizer(lowercase=True)
    specials = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    raw.train_from_iterator(
        TRAINING_TEXT, vocab_size=300, min_frequency=1, show_progress=False, special_tokens=specials
    )
    tokenizer = MPNetTokenizer(vocab=raw.get_vocab(), model_max_length=64)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    config = MPNetConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=66, pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    return save_model(folder, MPNetModel, config)


def qwen3(folder: Path) -> Path:
    """Qwen3-Embedding's files: an end token behind every text, its hidden state, unit length, a query prompt."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    raw = framed(byte_words(QWEN_SPECIAL), None, "<|endoftext|>")
    tokenizer = save_words(
        folder, raw, side="left", tokenizer_class="Qwen2Tokenizer", eos_token="<|im_end|>",
        pad_token="<|endoftext|>", additional_special_tokens=QWEN_SPECIAL[3:],
    )  # fmt: skip
    save_model(folder, Qwen3ForCausalLM, Qwen3Config(**llama(len(tokenizer), head_dim=8)))
    modules(
        folder,
        ("", THEIRS + "models.Transformer"),
        ("1_Pooling", THEIRS + "models.Pooling"),
        ("2_Normalize", THEIRS + "models.Normalize"),
    )
    _pooling(folder, "lasttoken")
    (folder / "2_Normalize").mkdir()
    task = "Given a web search query, retrieve relevant passages that answer the query"
    write(
        folder / "config_sentence_transformers.json",
        {
            "prompts": {"query": f"Instruct: {task}\nQuery:", "document": ""},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )
    return folder


def embedding_gemma(folder: Path) -> Path:
    """EmbeddingGemma's files: Gemma 3 that looks both ways, mean pooling, two Dense layers, unit length, prompts."""
    import torch
    from safetensors.torch import save_file
    from transformers import Gemma3TextConfig, Gemma3TextModel

    raw = framed(gemma_words([*GEMMA, "<mask>"]), "<bos>", "<eos>")
    tokenizer = save_words(folder, raw, limit=256, **GEMMA_NAMES, mask_token="<mask>")
    name_class(folder, "tokenizer_config.json", padding_side="right")
    facts = gemma3_text(len(tokenizer)) | {"bos_token_id": 2, "eos_token_id": 1}
    save_model(folder, Gemma3TextModel, Gemma3TextConfig(**facts, use_bidirectional_attention=True))
    kinds = ("Transformer", "Pooling", "Dense", "Dense", "Normalize")
    paths = ["", *(f"{number}_{kind}" for number, kind in enumerate(kinds) if number)]
    modules(folder, *((path, f"{THEIRS}models.{kind}") for path, kind in zip(paths, kinds)))
    write(folder / "sentence_bert_config.json", {"max_seq_length": 256, "do_lower_case": False})
    _pooling(folder, "mean_tokens")
    for path, (into, out) in zip(paths[2:4], ((32, 96), (96, 32))):
        write(
            folder / path / "config.json",
            {
                "in_features": into,
                "out_features": out,
                "bias": False,
                "activation_function": "torch.nn.modules.linear.Identity",
            },
        )
        torch.manual_seed(into)
        save_file({"linear.weight": torch.randn(out, into) / into**0.5}, folder / path / "model.safetensors")
    (folder / paths[4]).mkdir()
    write(
        folder / "config_sentence_transformers.json",
        {
            "prompts": {
                "query": "task: search result | query: ",
                "document": "title: none | text: ",
                "Clustering": "task: clustering | query: ",
            },
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )
    return folder


def nomic_bert(folder: Path) -> Path:
    """Rotary positions in a BERT."""
    from transformers import NomicBertConfig, NomicBertModel

    config = NomicBertConfig(
        vocab_size=tiny_models.bert_tokenizer(folder), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    return save_model(folder, NomicBertModel, config)


def t5(folder: Path) -> Path:
    """The whole encoder-decoder, of which the encoder is taken."""
    from transformers import T5Config, T5ForConditionalGeneration

    marks = ["<pad>", "</s>", "<unk>"]
    tokenizer = save_words(
        folder,
        framed(byte_words(marks), None, "</s>"),
        limit=64,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, pad_token_id=0,
        eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip
    return save_model(folder, T5ForConditionalGeneration, config)


def _pooling(folder: Path, chosen: str) -> None:
    """The file of ST's Pooling, every mode named, one of them on."""
    flags = (
        "cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken",
    )  # fmt: skip
    modes = {f"pooling_mode_{flag}": flag == chosen for flag in flags}
    write(folder / "1_Pooling/config.json", {"word_embedding_dimension": 32, **modes, "include_prompt": True})
