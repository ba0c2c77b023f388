"""Question -> chart: a question finds the chart it was asked about, among 100 charts the tower has never seen.

    python benchmarks/real_data/charts.py

400 charts to learn from, each with a question and a long answer; some questions fit several charts. The tower is a
small vision transformer that starts from random weights. It sees colours and layout and cannot read, so little is to
be expected; a pretrained vision-language model takes its place in practice.
"""

from __future__ import annotations

from common import Question, composed, one_right, pairs, shuffled, small_vit, teach
from PIL import Image

HELD_OUT = 100
SIDE = 128


def main() -> None:
    """Trains, judges, prints."""
    folder, lines = pairs("charts")
    seen, held = [], []
    for number, line in enumerate(shuffled(lines)):
        with Image.open(folder / line["image"]) as opened:
            chart = opened.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        if number < HELD_OUT:
            held.append((line["query"], chart))
        else:
            # Two texts per chart: what is asked and what is answered.
            seen += [{"text": {"text": line[key]}, "chart": chart} for key in ("query", "answer")]
    settings = {
        "image_processor_type": "ViTImageProcessor", "size": {"height": SIDE, "width": SIDE},
        "image_mean": [0.9, 0.9, 0.9], "image_std": [0.25, 0.25, 0.25],
    }  # fmt: skip
    encoder = composed(small_vit(SIDE, 16, 384), settings, "preprocessor_config.json", "image")
    question = Question(
        f"Question -> chart, {HELD_OUT} unseen charts, {len(seen) // 2} to learn from",
        [{"text": query} for query, _ in held],
        [chart for _, chart in held],
        one_right(HELD_OUT),
    )
    teach(encoder, seen, question, epochs=12, batch_size=64, learning_rate=5e-4)


if __name__ == "__main__":
    main()
