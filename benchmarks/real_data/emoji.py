"""Text -> pictogram: keywords find the emoji they belong to, among 300 emoji the tower has never seen.

    python benchmarks/real_data/emoji.py

1,344 emoji of Noto Emoji to learn from. The query is the emoji's name and keywords; the tower is a small vision
transformer that starts from random weights.
"""

from __future__ import annotations

import re

from common import Question, composed, one_right, pairs, shuffled, small_vit, teach
from PIL import Image

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
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": SIDE, "width": SIDE}}
    encoder = composed(small_vit(SIDE, 8, 768), settings, "preprocessor_config.json", "image")
    question = Question(
        f"Text -> pictogram, {HELD_OUT} unseen emoji, {len(seen)} to learn from",
        [row["keywords"] for row in held],
        [row["emoji"] for row in held],
        one_right(HELD_OUT),
    )
    teach(encoder, seen, question, epochs=10, batch_size=64, learning_rate=1e-3)


if __name__ == "__main__":
    main()
