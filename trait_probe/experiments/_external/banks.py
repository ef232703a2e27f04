"""The directions of a level, kept in the run: a resumed run reads with exactly the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from trait_probe.basis import Site
from trait_probe.experiments._external.config import Config
from trait_probe.experiments._external.directions import Directions
from trait_probe.experiments._external.levels import Level
from trait_probe.forward.rendering import render_for
from trait_probe.identity import HookedModel
from trait_probe.runs.rundir import Run
from trait_probe.runs.tables import read_table
from trait_probe.vectors.bank import Bank, make_bank

MOST_FOR_COVARIANCE = 2000
"""Selection rows whose covariance random directions have; more would change nothing."""
_RANDOM = ""  # no trait has an empty name


def level_bank(
    run: Run,
    model: HookedModel,
    config: Config,
    directions: Directions,
    level: Level,
    selection: Sequence[int],
) -> Bank:
    """Traits, foils and random directions of one level, as a stage of the run.

    Args:
        selection: numbers of the level's selection rows: the covariance is taken from them.
    """
    name = f"directions/{level.name}"

    def make() -> pa.Table:
        if config.sample_run is not None:
            return read_table(Path(config.sample_run) / f"{name}.parquet")
        chosen = selection[:: max(1, len(selection) // MOST_FOR_COVARIANCE)]
        prompts = [level.prompts[number] for number in chosen[:MOST_FOR_COVARIANCE]]
        found = make_bank(
            model,
            directions.vectors,
            {},
            render_for(model, prompts, truncate=config.truncate),
            positions=[directions.rule],
            n_random=config.n_random,
            n_shuffled=0,
            seed=config.seed,
        )
        return _to_table(found)

    return _from_table(run.stage(name, make))


def bank_sha256(bank: Bank) -> str:
    """Hash of all directions and their sites."""
    digest = hashlib.sha256()
    for site in bank.sites:
        digest.update(f"{site}\n".encode())
    for name, rows in bank.traits.items():
        digest.update(name.encode() + np.ascontiguousarray(rows).tobytes())
    digest.update(np.ascontiguousarray(bank.random).tobytes())
    return digest.hexdigest()


def at_sites(bank: Bank, sites: Sequence[Site]) -> Bank:
    """The named directions alone, at some of the sites."""
    kept = [bank.sites.index(site) for site in sites]
    traits = {name: rows[kept] for name, rows in bank.traits.items()}
    return Bank(tuple(sites), traits, bank.random[kept][:, :0], bank.shuffled[kept][:, :0])


def _to_table(bank: Bank) -> pa.Table:
    """One line a direction, site after site, traits first."""
    names, sites, lines = [], [], []
    for i, site in enumerate(bank.sites):
        named = [(name, rows[i]) for name, rows in bank.traits.items()]
        for name, line in [*named, *((_RANDOM, line) for line in bank.random[i])]:
            names.append(name)
            sites.append(str(site))
            lines.append(line)
    flat = np.stack(lines).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(flat.reshape(-1), flat.shape[1])
    return pa.table({"direction": names, "site": sites, "values": column})


def _from_table(table: pa.Table) -> Bank:
    names = np.array(table["direction"].to_pylist())
    sites = list(dict.fromkeys(table["site"].to_pylist()))
    flat = table["values"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    by_site: Float32[np.ndarray, "site line d_model"] = flat.reshape(
        len(sites), len(names) // len(sites), -1
    )
    first = names[: by_site.shape[1]]
    drawn = first == _RANDOM
    traits = {str(first[k]): by_site[:, k] for k in np.flatnonzero(~drawn)}
    random = by_site[:, drawn]
    return Bank(tuple(map(Site.parse, sites)), traits, random, random[:, :0])
