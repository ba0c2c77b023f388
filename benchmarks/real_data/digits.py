"""Text -> spoken digit: a word finds the recordings of it by speakers the tower has never heard.

    python benchmarks/real_data/digits.py

400 recordings of six speakers (8 kHz, half a second each); four speakers to learn from, two held out. The tower is a
small Whisper encoder that starts from random weights.
"""

from __future__ import annotations

import numpy as np
import torch
from common import Question, composed, pairs, shuffled, teach
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

HELD_OUT = {"theo", "yweweler"}


def main() -> None:
    """Trains, judges, prints."""
    folder, lines = pairs("spoken-digits")
    rows = [
        {"recording": folder / line["audio"], "word": line["text"], "speaker": line["speaker"]}
        for line in shuffled(lines)
    ]
    seen = [
        {"word": row["word"], "recording": row["recording"]} for row in rows if row["speaker"] not in HELD_OUT
    ]
    held = [row for row in rows if row["speaker"] in HELD_OUT]
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=8, num_mel_bins=40, d_model=128, encoder_layers=3, encoder_attention_heads=4,
        encoder_ffn_dim=256, max_source_positions=50, dropout=0.2, pad_token_id=0, bos_token_id=0,
        eos_token_id=0, decoder_start_token_id=1,
    )  # fmt: skip
    model = WhisperEncoder(config)
    settings = {
        "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 40, "chunk_length": 1,
        "sampling_rate": 8000, "hop_length": 80, "n_fft": 256,
    }  # fmt: skip
    encoder = composed(model, settings, "preprocessor_config.json", "audio")
    words = sorted({row["word"] for row in rows})
    right = np.array([[row["word"] == word for row in held] for word in words])
    answers = [row["recording"] for row in held]
    title = f"{len(held)} recordings by unseen speakers, {len(seen)} to learn from"
    teach(
        encoder,
        seen,
        Question(f"Text -> spoken digit: {title}", words, answers, right),
        # The other direction, which has more queries: which of the ten words is spoken?
        Question(f"Spoken digit -> text: {title}", answers, words, right.T),
        epochs=40,
        batch_size=32,
        learning_rate=1e-3,
        temperature=0.1,
    )


if __name__ == "__main__":
    main()
