"""`sightline train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="TOML file; recipes/ has examples.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Keys to change: training.learning_rate=1e-4"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in the output folder.")
    ] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not look at the data first (see `sightline check`).")
    ] = False,
    no_verify: Annotated[
        bool,
        typer.Option("--no-verify", help="Do not read the saved model again to compare it (output.verify)."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Fine-tune a model as a recipe says, and measure it before and after.

    Saves the model, the resolved recipe, results.json and report.html in the recipe's output folder. On several
    devices: torchrun --nproc_per_node 4 -m sightline.cli.main train recipe.toml
    """
    from sightline.cli.console import is_main_process, notes, results, show_results, write_json
    from sightline.cli.models import quiet_transformers
    from sightline.config.load import load_recipe

    plan = load_recipe(recipe, [*(overrides or ()), *(["output.verify=false"] if no_verify else [])])
    quiet_transformers()
    from sightline.runs.train import newest_checkpoint, run_recipe

    try:
        run = run_recipe(plan, console=notes(), resume=resume, check=not no_check)
    except KeyboardInterrupt:
        checkpoint = newest_checkpoint(Path(plan.output.dir))
        raise KeyboardInterrupt(
            f"Interrupted; the same command with --resume goes on from {checkpoint}" if checkpoint else ""
        ) from None
    if not is_main_process():
        return
    if as_json:
        further = {name: found.to_json() for name, found in run.further.items()}
        write_json(run.outcome.to_json() | ({"further": further} if further else {}))
        return
    console = results()
    show_results(console, run.outcome)
    for name, found in run.further.items():
        console.print(f"\n{name}", markup=False)
        show_results(console, found)
    console.print(f"\nmodel   {run.model}\nresults {run.output / 'results.json'}", soft_wrap=True)
    if run.report is not None:
        console.print(f"report  {run.report}", soft_wrap=True)
    if not plan.data.columns:
        next_step = f"sightline index {plan.data.dataset} -m {run.model} -o {run.output / 'index'}"
        console.print(f"\nNext: {next_step}", markup=False, soft_wrap=True)
