"""Text -> pictogram: keywords find the emoji they belong to, among 300 emoji the tower has never seen.

    python benchmarks/real_data/emoji.py

1,344 emoji of Noto Emoji to learn from. The query is the emoji's name and keywords; the tower is a small vision
transformer that starts from random weights.
"""

from __future__ import annotations

import re

import torch
from common import composed, judge, learn, one_right, pairs, shuffled, tell
from PIL import Image
from transformers import ViTConfig, ViTModel

HELD_OUT = 300
SIDE = 48


def main() -> None:
    """Trains, judges, prints."""
    folder, lines = pairs("emoji")
    rows = []
    for line in shuffled(lines):
        with Image.open(folder / line["image"]) as opened:
            drawn = opened.convert("RGBA")
        paper = Image.new("RGBA", drawn.size, "white")
        picture = Image.alpha_composite(paper, drawn).convert("RGB").resize((SIDE, SIDE))
        words = [word.replace("_", " ") for word in line["keywords"] if re.search("[a-z]", word)]
        rows.append({"keywords": {"text": ", ".join(words[:6])}, "emoji": picture})
    held, seen = rows[:HELD_OUT], rows[HELD_OUT:]
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=192, num_hidden_layers=4, num_attention_heads=3, intermediate_size=768, image_size=SIDE,
        patch_size=8, hidden_dropout_prob=0.1,
    )  # fmt: skip
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": SIDE, "width": SIDE}}
    encoder = composed(ViTModel(config), settings, "preprocessor_config.json", "image")
    queries, answers = [row["keywords"]["text"] for row in held], [row["emoji"] for row in held]
    texts = [{"text": query} for query in queries]
    before = judge(encoder, texts, answers, one_right(HELD_OUT))
    seconds = learn(encoder, seen, epochs=10, batch_size=64, learning_rate=1e-3)
    after = judge(encoder, texts, answers, one_right(HELD_OUT))
    tell(
        f"Text -> pictogram, {HELD_OUT} unseen emoji, {len(seen)} to learn from",
        before,
        after,
        seconds,
        encoder,
    )


if __name__ == "__main__":
    main()
