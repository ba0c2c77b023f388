"""What the machine can do, and where a step's time goes.

    python benchmarks/hardware.py                        # matrix and memory rates, one and two threads
    python benchmarks/hardware.py profile                # operators of one step, text and pages, one thread
    python benchmarks/hardware.py profile --rows text --peer

``profile`` prints, per group of operators, their own time and share of the step (torch.profiler, everything of
the backward pass included), then the twenty most expensive operators, and the bytes autograd keeps per token.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

# (rows, inner, columns): a large square, and MiniLM's feed-forward on a micro-batch of 2,048 tokens.
SHAPES = {"square": (2_048, 2_048, 2_048), "feed-forward": (2_048, 384, 1_536)}

# First match wins; an operator's name is looked for these parts.
GROUPS = (
    ("attention", ("scaled_dot_product", "flash_attention", "_attention")),
    ("matrix products", ("mm", "linear", "matmul", "baddbmm")),
    ("convolution", ("convolution", "conv")),
    ("dropout", ("dropout", "bernoulli", "uniform")),
    ("activation", ("gelu", "silu", "sigmoid", "tanh", "erf")),
    ("norms", ("layer_norm", "rms_norm", "rsqrt")),
    ("softmax", ("softmax", "logsumexp")),
    ("embedding", ("embedding", "index", "gather", "scatter")),
    ("copies", ("copy", "clone", "cat", "contiguous", "slice_backward", "fill", "zero", "_to_copy", "empty")),
    ("adding and scaling", ("add", "mul", "sum", "div", "sub", "neg", "pow", "square", "where", "mean")),
)  # fmt: skip


def rates() -> list[dict[str, Any]]:
    """GFLOP/s of matrix products and GB/s of copies, best of several tries."""
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for dtype in (torch.float32, torch.bfloat16):
            for name, (rows, inner, columns) in SHAPES.items():
                left, right = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
                out = torch.empty(rows, columns, dtype=dtype)

                def product(left: Any = left, right: Any = right, out: Any = out) -> None:
                    torch.mm(left, right, out=out)

                rate = 2 * rows * inner * columns / _seconds(product) / 1e9
                found.append({"what": f"{name} {str(dtype)[6:]}", "threads": threads, "GFLOP/s": round(rate)})
        # Far larger than any cache.
        source = torch.ones(1 << 27)
        target = torch.empty_like(source)
        moved = 2 * source.nbytes

        def copy(source: Any = source, target: Any = target) -> None:
            target.copy_(source)

        found.append(
            {"what": "copy", "threads": threads, "GB/s": round(moved / _seconds(copy, tries=5) / 1e9, 1)}
        )
    return found


def _seconds(work: Callable[[], None], tries: int = 20) -> float:
    """The shortest of several runs: what the hardware can do, not what the machine's other work left of it."""
    work()
    times = []
    for _ in range(tries):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def profile(name: str, *, peer: bool, number: int, bf16: bool, rounds: int) -> None:
    """Prints the operators of one step, after one to warm up and ``rounds`` that are timed."""
    step = _step(name, peer=peer, number=number, bf16=bf16)
    step()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
        step()
    times: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    for event in recorded.key_averages():
        times[event.key] += event.self_cpu_time_total / 1e6
        calls[event.key] += event.count
    total = sum(times.values())
    groups: dict[str, float] = defaultdict(float)
    for key, spent in times.items():
        groups[group_of(key)] += spent
    side = "ST, best cached setting" if peer else "Sightline"
    print(f"## {name}, {side}: {statistics.median(seconds):.3f} s a step, {total:.3f} s under the profiler\n")
    print("| operators | s | share |\n|---|---|---|")
    for group, spent in sorted(groups.items(), key=lambda one: -one[1]):
        print(f"| {group} | {spent:.3f} | {spent / total:.1%} |")
    print("\n| operator | calls | s | share |\n|---|---|---|---|")
    for key, spent in sorted(times.items(), key=lambda one: -one[1])[:20]:
        print(f"| {key} | {calls[key]:,} | {spent:.3f} | {spent / total:.1%} |")
    if not peer:
        print("\n" + saved_bytes(step))
    print(flush=True)


def group_of(operator: str) -> str:
    plain = operator.removeprefix("aten::").lower()
    return next((group for group, parts in GROUPS if any(part in plain for part in parts)), "others")


def saved_bytes(step: Any) -> str:
    """What autograd keeps of one forward pass over the batch's first and last micro-batches, by shape."""
    from sightline.training.step import forward

    micro_batches = step.batch["batch"].micro_batches
    weights = {one.untyped_storage().data_ptr() for one in step.model.parameters()}
    lines = []
    for micro_batch in (micro_batches[0], micro_batches[-1]):
        saved: dict[int, tuple[int, str]] = {}

        def keep(tensor: Any, saved: Any = saved) -> Any:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                saved[storage.data_ptr()] = (
                    storage.nbytes(),
                    f"{tuple(tensor.shape)} {str(tensor.dtype)[6:]}",
                )
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = forward(step.model, micro_batch, step.trainer.args.autocast)
        total = sum(size for size, _ in saved.values())
        shapes: dict[str, list[int]] = defaultdict(list)
        for size, shape in saved.values():
            shapes[shape].append(size)
        top = sorted(shapes.items(), key=lambda one: -sum(one[1]))[:6]
        tokens, patches = micro_batch.cost.tokens, micro_batch.cost.patches
        lines.append(
            f"{len(micro_batch)} items, {tokens:,} tokens ({micro_batch.padded_tokens:,} padded), {patches:,} "
            f"patches: autograd keeps {total / 1e6:.0f} MB, {total / tokens / 1e3:.1f} kB a token; most of it "
            + ", ".join(f"{len(sizes)} x {shape} ({sum(sizes) / 1e6:.0f} MB)" for shape, sizes in top)
        )
        del output
    return "\n".join(lines)


def _step(name: str, *, peer: bool, number: int, bf16: bool) -> Any:
    import train_pages
    import train_text

    if name == "text":
        row = "bf16" if bf16 else "cached"
        if peer:
            return train_text.theirs(row, train_text.BEST[row], number or 16)
        return train_text.ours(row, 8e9, number or 16)
    train_pages.folder()
    if peer:
        return train_pages.theirs(train_pages.BEST, number or 4)
    return train_pages.ours(8e9, number or 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", nargs="?", choices=("rates", "profile"), default="rates")
    parser.add_argument("--rows", nargs="+", choices=("text", "pages"), default=["text", "pages"])
    parser.add_argument("--peer", action="store_true", help="ST's best cached setting instead of ours")
    parser.add_argument("--bf16", action="store_true", help="of the text step")
    parser.add_argument("--number", type=int, default=0, help="rows of the batch; 16 of text or 4 of pages")
    parser.add_argument("--threads", type=int, default=1, help="of the profile")
    parser.add_argument("--rounds", type=int, default=3, help="timed steps before the profiled one")
    chosen = parser.parse_args()
    if chosen.mode == "profile":
        torch.set_num_threads(chosen.threads)
        for name in chosen.rows:
            profile(name, peer=chosen.peer, number=chosen.number, bf16=chosen.bf16, rounds=chosen.rounds)
        return
    found = rates()
    print("| what | threads | rate |\n|---|---|---|")
    for one in found:
        unit = "GFLOP/s" if "GFLOP/s" in one else "GB/s"
        print(f"| {one['what']} | {one['threads']} | {one[unit]:,} {unit} |")
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / "hardware.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
