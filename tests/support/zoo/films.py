"""The architectures of the zoo that take videos without torchvision."""

FILMS = ("qwen3_vl", "qwen2_5_vl", "qwen2_vl", "qwen3_5", "llava_onevision")
