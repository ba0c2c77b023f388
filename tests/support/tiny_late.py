"""Tiny late-interaction checkpoints in the formats there are, with random weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support import tiny_models
from support.tiny_modernbert import tokenizer_and_config

WIDTH = 16
PROMPTS = {"query": "[Q] ", "document": "[D] "}
# Some longer than every limit below, one of punctuation, one empty.
QUERIES = [
    "costs of the plant",
    "How many employees worked in the northern plants in 2019? Which of them, and since when?",
    "a pump",
    "",
    "revenue, by region: a table of the annual report (2019)",
]
DOCUMENTS = [
    "The annual report shows revenue by region, and a table of operating costs.",
    "pump, valves, seals " * 20,
    "...",
    "x",
    "A diagram of the pump with its valves, seals and the pressure gauge!",
    "",
]


def modernbert(folder: Path) -> Path:
    """A four-layer ModernBERT without a head; its tokenizer gives no segment ids."""
    import torch
    from transformers import ModernBertModel

    config = tokenizer_and_config(folder, initializer_range=0.2)
    torch.manual_seed(0)
    ModernBertModel(config).save_pretrained(folder)
    return folder


def st_model(
    backbone: Path, *, pooling: Any = None, mask: Mapping[str, Any] | None = None, **texts: Any
) -> Any:
    """ST's MultiVectorEncoder over a bare checkpoint; ``texts`` are limits and query expansion."""
    import string

    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    torch.manual_seed(1)
    transformer = Transformer(str(backbone), **texts)
    dense = Dense(
        transformer.get_embedding_dimension(), WIDTH, bias=False, activation_function=torch.nn.Identity(),
        module_input_name="token_embeddings",
    )  # fmt: skip
    modules = [
        transformer,
        dense,
        MultiVectorMask(**({"skiplist_words": list(string.punctuation)} if mask is None else dict(mask))),
        Normalize(module_input_name="token_embeddings"),
        *([] if pooling is None else [pooling]),
    ]
    return MultiVectorEncoder(modules=modules, device="cpu", prompts=PROMPTS)


def pylate(folder: Path, bert: Path) -> Path:
    """What PyLate 3 writes: a backbone and a projection, everything else at the top of the model's file."""
    import torch
    from safetensors.torch import save_file

    shutil.copytree(bert, folder)
    _write(folder / "modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
    ])  # fmt: skip
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 60, "do_lower_case": False})
    _write(folder / "config_sentence_transformers.json", {
        "__version__": {"sentence_transformers": "5.1.1"}, "model_type": "ColBERT", "prompts": {},
        "default_prompt_name": None, "similarity_fn_name": "MaxSim", "query_prefix": "[unused0]",
        "document_prefix": "[unused1]", "query_length": 16, "document_length": 40,
        "attend_to_expansion_tokens": False, "skiplist_words": [".", ",", "!"], "do_query_expansion": True,
    })  # fmt: skip
    (folder / "1_Dense").mkdir()
    _write(folder / "1_Dense" / "config.json", {
        "in_features": 32, "out_features": WIDTH, "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity", "use_residual": False,
    })  # fmt: skip
    torch.manual_seed(2)
    save_file({"linear.weight": torch.randn(WIDTH, 32)}, folder / "1_Dense" / "model.safetensors")
    return folder


def stanford(folder: Path, bert: Path, *, metadata: Mapping[str, Any] | None = None) -> Path:
    """What Stanford's ColBERT writes: a projection among the backbone's weights, settings in a file of its own."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(bert, folder)
    facts = json.loads((folder / "config.json").read_text())
    _write(folder / "config.json", facts | {"architectures": ["HF_ColBERT"]})
    torch.manual_seed(3)
    weights = {f"bert.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    save_file(
        weights | {"linear.weight": torch.randn(WIDTH, 32)},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    if metadata is not None:
        _write(folder / "artifact.metadata", metadata)
    return folder


def bert_with_markers(folder: Path) -> Path:
    """A bare BERT whose vocabulary has ColBERT's marker tokens."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    raw = BertWordPieceTokenizer(lowercase=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    raw.train_from_iterator(
        [*tiny_models.TRAINING_TEXT, ". , ! ? ( ) :"], vocab_size=300, min_frequency=1, show_progress=False,
        special_tokens=special,
    )  # fmt: skip
    raw.save_model(str(folder))
    vocabulary = (folder / "vocab.txt").read_text().splitlines()
    vocabulary[5:5] = ["[unused0]", "[unused1]"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=64, initializer_range=0.2,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def colqwen2(folder: Path) -> Path:
    """A ColQwen2: queries as text, documents as images, projected and normalised by the model itself."""
    import torch
    from transformers import AutoTokenizer, ColQwen2Config, ColQwen2ForRetrieval, Qwen2VLConfig

    tokens = tiny_models.qwen3_vl(folder.with_name(folder.name + "-tokens"))
    tokenizer = AutoTokenizer.from_pretrained(tokens)
    tokenizer.chat_template = None
    tokenizer.padding_side = "left"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    facts = json.loads((folder / "tokenizer_config.json").read_text())
    _write(folder / "tokenizer_config.json", facts | {"processor_class": "ColQwen2Processor"})
    _write(folder / "preprocessor_config.json", {
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "ColQwen2Processor",
        "size": {"shortest_edge": 28 * 28, "longest_edge": 56 * 56}, "patch_size": 14, "temporal_patch_size": 2,
        "merge_size": 2, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4],
    })  # fmt: skip
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in tiny_models.QWEN_SPECIAL}
    vlm = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
            "initializer_range": 0.2, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0},
        },
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 14,
                       "spatial_merge_size": 2, "temporal_patch_size": 2, "mlp_ratio": 2},
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    torch.manual_seed(0)
    ColQwen2ForRetrieval(ColQwen2Config(vlm_config=vlm, embedding_dim=WIDTH)).save_pretrained(folder)
    return folder


def colpali(folder: Path) -> Path:
    """A ColPali over a tiny PaliGemma."""
    import torch
    from transformers import ColPaliConfig, ColPaliForRetrieval, PaliGemmaConfig

    from support.zoo.vision_language import paligemma

    paligemma(folder)
    for name in ("preprocessor_config.json", "tokenizer_config.json"):
        facts = json.loads((folder / name).read_text())
        _write(folder / name, facts | {"processor_class": "ColPaliProcessor"})
    for weights in folder.glob("model*.safetensors*"):
        weights.unlink()
    vlm = PaliGemmaConfig.from_pretrained(folder)
    torch.manual_seed(0)
    ColPaliForRetrieval(ColPaliConfig(vlm_config=vlm, embedding_dim=WIDTH)).save_pretrained(folder)
    return folder


def colmodernvbert(folder: Path) -> Path:
    """A ColModernVBert over a tiny ModernVBert: an encoder that looks both ways, images in tiles."""
    import torch
    from transformers import AutoConfig, ColModernVBertConfig, ColModernVBertForRetrieval

    from support.zoo.vision_language import modernvbert

    modernvbert(folder)
    for name in ("preprocessor_config.json", "tokenizer_config.json", "processor_config.json"):
        facts = json.loads((folder / name).read_text())
        _write(folder / name, facts | {"processor_class": "ColModernVBertProcessor"})
    for weights in folder.glob("model*.safetensors*"):
        weights.unlink()
    vlm = AutoConfig.from_pretrained(folder)
    torch.manual_seed(0)
    ColModernVBertForRetrieval(ColModernVBertConfig(vlm_config=vlm, embedding_dim=WIDTH)).save_pretrained(
        folder
    )
    return folder


def _write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data))
