"""Step 5: every direction at every layer, rows in shards: a kill costs a shard at most."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.experiments._external.banks import bank_sha256
from trait_probe.experiments._external.config import NAME, Config
from trait_probe.experiments._handed_in import require_named
from trait_probe.forward.budget import BatchBudget
from trait_probe.forward.repeats import Repeats
from trait_probe.forward.shard_files import METADATA, require_intact
from trait_probe.forward.shards import plan, write_shards
from trait_probe.forward.work import Finished, limit_of, n_tokens
from trait_probe.identity import HookedModel
from trait_probe.prompts.positions import PositionRule
from trait_probe.prompts.render import Rendered, Truncate
from trait_probe.prompts.stream import Chunk, ChunkLimit
from trait_probe.runs.files import read_json
from trait_probe.runs.folder import CONFIG, MANIFEST
from trait_probe.runs.rundir import Run, open_run
from trait_probe.runs.tables import parquet_bytes, read_table
from trait_probe.vectors.bank import Bank, BankScores, read_bank

EXPERIMENT = f"{NAME}.projections"
_TOKENS = "tokens"


@dataclass(frozen=True)
class BankShards:
    """Projects chunks of prompts on a bank at the mean of one rule; one Parquet file a chunk."""

    bank: Bank
    positions: tuple[str, ...]
    truncate: Truncate | None = None

    def check(self, model: HookedModel) -> None:
        """The bank was made for the model."""

    def limit(self, shard_prompts: int) -> ChunkLimit:
        """At most `SHARD_NUMBERS` projections a chunk."""
        columns = len(self.bank.sites) * self.bank.columns
        return limit_of(self.positions, "mean", columns, shard_prompts)

    def file(self, index: int) -> str:
        """`00000000.parquet`."""
        return f"{index:08d}.parquet"

    def compute(
        self,
        model: HookedModel,
        chunk: Chunk,
        rendered: list[Rendered],
        budget: BatchBudget,
        repeats: Repeats | None = None,
        total: int | None = None,
    ) -> Finished:
        """Project the chunk."""
        rule = PositionRule.parse(self.positions[0])
        lacking = [item.prompt_id for item in rendered if not len(rule.selected(item.spans))]
        if lacking:
            raise BadInputError(
                f"The position rule {rule} selects no token in {len(lacking)} prompts.",
                got=lacking[:5],
                fix="Leave them out of the data set.",
            )
        (scores,) = read_bank(
            model, rendered, self.bank, positions=self.positions, batch_tokens=budget, label=None
        )
        lengths = pa.array([len(rule.selected(item.spans)) for item in rendered], pa.int32())
        table = scores.to_table(rendered).append_column(_TOKENS, lengths)
        about = {"first": chunk.first, "sha256": chunk.sha256}
        table = table.replace_schema_metadata({METADATA: json.dumps(about)})
        return Finished(parquet_bytes(table), table.num_rows, n_tokens(rendered))

    def memory(self) -> Repeats | None:
        """Chunks are computed apart."""

    def recall(self, path: Path, repeats: Repeats) -> None:
        """Nothing is remembered."""


@dataclass(frozen=True)
class Shards:
    """Projections of one file of prompts in a folder, read back whole or shard by shard."""

    folder: Path
    bank: Bank
    files: tuple[Path, ...]

    def parts(self) -> Iterator[tuple[BankScores, Int[np.ndarray, " row"]]]:
        """Scores and lengths (tokens read) of each shard, in order."""
        for path in self.files:
            table = read_table(path)
            lengths = table[_TOKENS].to_numpy().astype(np.int64)
            yield BankScores.from_table(table.drop_columns([_TOKENS]), self.bank), lengths

    def load(self) -> tuple[BankScores, Int[np.ndarray, " row"]]:
        """All of them."""
        parts = list(self.parts())
        values = np.concatenate([scores.values for scores, _ in parts])
        return BankScores(self.bank, values), np.concatenate([lengths for _, lengths in parts])


def read_shards(
    run: Run,
    name: str,
    model: HookedModel,
    config: Config,
    bank: Bank,
    prompts: Path,
    rule: str,
) -> Shards:
    """Project a file of prompts; what an earlier process finished is not computed again.

    Args:
        run: the experiment's run, whose folder holds the shards' own.
        name: of the shards' folder.

    Raises:
        BadInputError: as `plan`; MismatchError: the folder holds shards of other prompts or of
            another bank.
    """
    work = BankShards(bank, (rule,), config.truncate)
    settings = {
        "part": name,
        "position": rule,
        "truncate": config.truncate,
        "shard_prompts": config.shard_prompts,
        "bank": bank_sha256(bank),
    }
    folder = run.folder / "projections" / name
    with open_run(folder, experiment=EXPERIMENT, config=settings) as shards:
        if config.engine == "ray":
            _on_ray(shards, config, work, prompts)
        else:
            job = plan(model, work, prompts, shard_prompts=config.shard_prompts)
            write_shards(shards, model, work, job, batch_tokens=config.batch_tokens, label=name)
        shards.finish()
        stages = sorted(shards.manifest.stages.items())
        files = tuple(require_intact(folder, file, record.sha256) for file, record in stages)
    return Shards(folder, bank, files)


def _on_ray(shards: Run, config: Config, work: BankShards, prompts: Path) -> None:
    from trait_probe.forward.cluster import ModelSpec, write_shards_on_ray

    require_named("model", str(config.model), "The ray engine loads models by name: give --model.")
    write_shards_on_ray(
        shards,
        ModelSpec(name=str(config.model), dtype=config.dtype),
        work,
        prompts,
        workers=config.workers,
        address=config.ray_address,
        batch_tokens=config.batch_tokens,
        shard_prompts=config.shard_prompts,
    )


def take_sample_shards(sample: Path, folder: Path) -> None:
    """Copy the shards of a finished sample run, which the full run uses again."""
    for part in sorted((sample / "projections").iterdir()):
        target = folder / "projections" / part.name
        if not target.exists():
            shutil.copytree(part, target)


def require_sample_of(sample: Path, settings: Mapping[str, object]) -> None:
    """Refuse a folder that is no finished sample run of the same configuration.

    Args:
        settings: the full run's config.json.

    Raises:
        BadInputError: no run, or one that is not finished; MismatchError: another configuration.
    """
    path, manifest = sample / CONFIG, sample / MANIFEST
    if not path.is_file() or not manifest.is_file():
        raise BadInputError(
            "The folder of the sample run holds no run.",
            got=str(sample),
            fix="Give the --out folder of a run of this experiment.",
        )
    if not read_json(manifest).get("finished"):
        raise BadInputError(
            "The sample run is not finished.",
            got=str(sample),
            fix="Give its command again; it goes on where it stopped.",
        )
    theirs = read_json(path)
    wanted = {**settings, "full": False}
    unlike = sorted(name for name in {*theirs, *wanted} if theirs.get(name) != wanted.get(name))
    if unlike:
        raise MismatchError(
            "The sample run was made with another configuration.",
            got={name: theirs.get(name) for name in unlike},
            valid=[f"{name}: {wanted.get(name)!r}" for name in unlike],
            fix="Give the same flags but for --full and --out.",
        )


def require_same_facts(sample: Path, facts: Mapping[str, object]) -> None:
    """Refuse a sample run of another model, of other rows, or with damaged directions.

    Raises:
        MismatchError: names the facts that differ; BadInputError: a damaged file.
    """
    manifest = read_json(sample / MANIFEST)
    unlike = sorted(name for name, value in facts.items() if manifest["facts"].get(name) != value)
    if unlike:
        raise MismatchError(
            "The sample run read another model, other rows, or other vectors.",
            got=unlike,
            fix="Make the sample run again, or leave --sample-run out.",
        )
    for name, record in manifest["stages"].items():
        require_intact(sample, f"{name}.parquet", record["sha256"])
