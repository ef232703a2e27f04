"""What a command says on standard output when it is done."""

from __future__ import annotations

from rich.console import Console

from trait_probe.basis import Site
from trait_probe.forward.stored import StoredActivations, StoredProjections
from trait_probe.report.terminal import print_table
from trait_probe.runs.files import read_json

MOST = 40
"""Lines of the table."""


def tell(found: StoredProjections) -> None:
    """The distribution of each vector's projections, and where they are."""
    console = Console()
    results = read_json(found.folder / "results.json")
    columns = results["columns"]
    rows = [
        (
            one["trait"],
            f"layer {Site.parse(one['site']).layer}, {Site.parse(one['site']).point}",
            one["span"].removesuffix("|none"),
            f"{one['rows']:,}",
            f"{one['z_mean']:.3f}",
            f"{one['z_sd']:.3f}" if isinstance(one["z_sd"], float) else "",
            f"{one['z_min']:.2f} to {one['z_max']:.2f}",
        )
        for one in columns[:MOST]
    ]
    head = ("trait", "site", "position", "rows", "mean z", "sd of z", "range of z")
    print_table(head, rows, console)
    if len(columns) > MOST:
        console.print(f"and {len(columns) - MOST} more lines in results.json")
    error = found.folder / "dtype_error.json"
    if error.is_file():
        measured = read_json(error)
        worst = measured["worst"].get("z_rms")
        differs = (
            "no token in the sample"
            if worst is None
            else (f"z differs by {worst:.2g} SD (root mean square) in the worst vector")
        )
        console.print(
            f"{measured['dtype']} against float32, {measured['n_prompts']} prompts: {differs}"
        )
    console.print(f"{results['n_prompts']:,} prompts: {found.folder}", highlight=False)


def tell_captured(found: StoredActivations) -> None:
    """How many rows there are, and where."""
    rows = sum(record.rows for record in found.manifest.stages.values())
    Console().print(
        f"{rows:,} rows of {len(found.sites)} sites in {len(found.manifest.stages)} shards: "
        f"{found.folder}",
        highlight=False,
    )
