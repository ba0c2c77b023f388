"""The report's account of how the model was made: curves, findings about the data, recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

from sightline.evaluation.background import Background, Remark
from sightline.evaluation.charts import Line, step_curve
from sightline.evaluation.report_parts import legend, section, with_code
from sightline.evaluation.summary import metric_label

_PARTS = ("k-a", "k-b", "k-c", "k-d", "k-e", "k-f")
_COUNTED = {
    "items", "tokens", "patches", "passes", "embedded_twice", "reembedded", "padding", "waiting", "peak_gb", "rss_gb",
    "items_per_second", "tokens_per_second", "patches_per_second", "reused", "bad_batches", "step", "epoch", "loss",
    "learning_rate", "grad_norm", "num_input_tokens_seen",
}  # fmt: skip
_FACTS = {
    "items_per_second": "items per second",
    "tokens_per_second": "tokens per second",
    "patches_per_second": "patches per second",
}
_AT_DIMENSION = re.compile(r"(?P<before>eval_.*?)dim(?P<dim>\d+)_(?P<metric>.+)")


def training_section(background: Background) -> str:
    """Loss with its parts, evaluation by step, and throughput; empty where no step was logged."""
    steps = [entry for entry in background.log if "loss" in entry and "learning_rate" in entry]
    panels = [
        _losses(steps),
        _evaluations(background.log, background.metric),
        _held_out(background.log),
    ]
    drawn = "".join(panel for panel in panels if panel)
    if not drawn:
        return ""
    return section("Training", _told(steps), f'<div class="panels">{drawn}</div>')


def remarks_section(remarks: Sequence[Remark] | None) -> str:
    """What the data doctor found; empty where it was not asked."""
    if remarks is None:
        return ""
    heading = "What was found in the data"
    if not remarks:
        return section(heading, "`sightline check` found nothing wrong before training.", "")
    styles = {"error": "bad", "warning": "warn"}
    lines = [
        f'<tr><td><span class="tag {styles.get(one.severity, "flat")}">{escape(one.severity)}</span></td>'
        f'<td class="num">{one.count:,}</td><td>{with_code(one.title)}<div class="sub">{escape(one.where)}: '
        f"{with_code(one.message)}</div></td><td>{with_code(one.advice)}</td></tr>"
        for one in remarks
    ]
    return section(
        heading,
        "What `sightline check` found before training; below each kind its first case.",
        '<div class="scroll"><table class="remarks"><caption class="sr">Findings of the data doctor</caption>'
        '<thead><tr><th scope="col"></th><th scope="col" class="num">Cases</th><th scope="col">What</th>'
        f'<th scope="col">What to do</th></tr></thead><tbody>{"".join(lines)}</tbody></table></div>',
    )


def recipe_section(background: Background) -> str:
    """The resolved recipe; empty where there was none."""
    if not background.recipe:
        return ""
    return section(
        "Recipe",
        "Every setting of the run, those inherited from the checkpoint among them. Saved as a file, "
        "`sightline train` runs it again.",
        f'<pre class="recipe" tabindex="0">{escape(background.recipe.strip())}</pre>',
    )


def _told(steps: Sequence[Mapping[str, float]]) -> str:
    """The training in a sentence: steps, throughput, memory."""
    if not steps:
        return ""
    last = steps[-1]
    facts = [f"{last['step']:,.0f} optimizer steps"]
    for name, label in _FACTS.items():
        known = [entry[name] for entry in steps if name in entry]
        if known:
            facts.append(f"{sorted(known)[len(known) // 2]:,.0f} {label} (median)")
    if "peak_gb" in last:
        facts.append(f"at most {last['peak_gb']:.1f} GB of memory")
    if last.get("reembedded"):
        facts.append(f"{last['reembedded']:.0%} of the micro-batches embedded a second time to save memory")
    return ", ".join(facts) + "."


def _losses(steps: Sequence[Mapping[str, float]]) -> str:
    """The loss, and its parts where it has several."""
    parts = list(dict.fromkeys(name for entry in steps for name in entry if name not in _COUNTED))
    parts = [name for name in parts if not name.endswith(("_loss", "_batches"))]
    shown = parts[: len(_PARTS)] if len(parts) > 1 else []
    lines = [_line(steps, "loss", "loss", "s-after")]
    lines += [_line(steps, name, name, style) for name, style in zip(shown, _PARTS)]
    more = f" ({len(parts) - len(shown)} more are in results.json)" if len(parts) > len(_PARTS) else ""
    return _figure(f"Loss{more}", lines, "Training loss by step", dots=len(steps) < 15)


def _evaluations(log: Sequence[Mapping[str, float]], metric: str) -> str:
    """The evaluator's metric by step, at each dimension."""
    found = [entry for entry in log if metric and metric in entry]
    short = metric.removeprefix("eval_")
    names = {metric: metric_label(short)}
    cut = [(_AT_DIMENSION.fullmatch(name), name) for name in (found[0] if found else ())]
    dims = sorted(
        ((int(at["dim"]), name) for at, name in cut if at and f"{at['before']}{at['metric']}" == metric),
        reverse=True,
    )
    names |= {name: f"{dim} dimensions" for dim, name in dims[1 : len(_PARTS) + 1]}
    lines = [
        _line(found, name, label, style) for (name, label), style in zip(names.items(), ("s-after", *_PARTS))
    ]
    return _figure(f"{metric_label(short)} on held-out questions", lines, "Evaluation by step", dots=True)


def _held_out(log: Sequence[Mapping[str, float]]) -> str:
    found = [entry for entry in log if "eval_loss" in entry]
    return _figure(
        "Loss on held-out rows", [_line(found, "eval_loss", "loss", "s-after")], "Held-out loss", dots=True
    )


def _line(entries: Sequence[Mapping[str, float]], name: str, label: str, style: str) -> Line:
    return Line(
        label, style, tuple((int(entry["step"]), float(entry[name])) for entry in entries if name in entry)
    )


def _figure(caption: str, lines: Sequence[Line], describe: str, *, dots: bool) -> str:
    """A panel with its legend; empty where nothing was logged."""
    known = [line for line in lines if line.points]
    if not known:
        return ""
    chart = step_curve(known, describe=describe, dots=dots)
    key = legend((line.label, line.style) for line in known) if len(known) > 1 else ""
    return f"<figure><figcaption>{escape(caption)}</figcaption>{chart}{key}</figure>"
