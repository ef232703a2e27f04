"""A set of trait vectors: look-up, the check against a model, and the file that keeps it all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import torch
from jaxtyping import Float32
from torch import Tensor

from trait_probe.basis import ModelIdentity, Site
from trait_probe.errors import BadInputError, MismatchError, nearest
from trait_probe.identity import HookedModel, identify
from trait_probe.vectors import _format
from trait_probe.vectors.trait_vector import (
    Basis,
    Reference,
    Reliability,
    TraitVector,
    from_entry,
    to_entry,
)

__all__ = ["Basis", "Reference", "Reliability", "TraitVector", "VectorSet"]


class VectorSet(Sequence[TraitVector]):
    """An immutable sequence of trait vectors, also keyed by trait and layer (or site).

    `vectors["evil", 2]`, `vectors["safety/evil", Site(2, "resid_pre")]`, `vectors[0]`,
    `vectors[:3]`. The bare name of a trait is enough where only one trait has it.
    """

    def __init__(self, vectors: Iterable[TraitVector] = ()) -> None:
        self._vectors = tuple(vectors)
        seen: set[str] = set()
        for vector in self._vectors:
            if vector.key in seen:
                raise BadInputError(
                    "A set holds one vector for each trait and site.",
                    got=vector.key,
                    fix="Keep vectors of other methods, positions or models in sets of their own.",
                )
            seen.add(vector.key)
        widths = {vector.basis.model.d_model for vector in self._vectors}
        if len(widths) > 1:
            raise MismatchError(
                "The vectors of one set come from models of one width.", got=sorted(widths)
            )

    def __len__(self) -> int:
        return len(self._vectors)

    def __iter__(self) -> Iterator[TraitVector]:
        return iter(self._vectors)

    @overload
    def __getitem__(self, key: int) -> TraitVector: ...
    @overload
    def __getitem__(self, key: slice) -> VectorSet: ...
    @overload
    def __getitem__(self, key: tuple[str, int | Site]) -> TraitVector: ...
    def __getitem__(self, key: int | slice | tuple[str, int | Site]) -> TraitVector | VectorSet:
        if isinstance(key, slice):
            return VectorSet(self._vectors[key])
        if isinstance(key, int):
            return self._vectors[key]
        return self._one(*key)

    def _one(self, trait: str, place: int | Site) -> TraitVector:
        name = self._full_name(trait)
        own = [vector for vector in self._vectors if vector.trait == name]
        found = [vector for vector in own if place in (vector.site, vector.layer)]
        if len(found) == 1:
            return found[0]
        where = f"layer {place}" if isinstance(place, int) else str(place)
        if found:
            raise BadInputError(
                f"{name!r} has several vectors at {where}.",
                got=place,
                valid=[str(vector.site) for vector in found],
                fix=f'Name the site: vectors["{trait}", Site({place}, "resid_post")].',
            )
        raise BadInputError(
            f"{name!r} has no vector at {where}.",
            got=place,
            valid=_closest(place, [vector.site for vector in own]),
        )

    def _full_name(self, trait: str) -> str:
        matches = [name for name in self.traits if name.rpartition("/")[2] == trait]
        if trait in self.traits:
            return trait
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise BadInputError("Several traits have that bare name.", got=trait, valid=matches)
        bare = {name.rpartition("/")[2]: name for name in self.traits}
        close = [bare.get(name, name) for name in nearest(trait, [*bare, *self.traits])]
        raise BadInputError("There is no such trait.", got=trait, valid=dict.fromkeys(close))

    def select(
        self,
        traits: str | Iterable[str] | None = None,
        layers: int | Iterable[int] | None = None,
    ) -> VectorSet:
        """The vectors of these traits and layers, in the set's order; `None` takes all.

        Raises:
            BadInputError: a trait or layer is not in the set, or no vector has both.
        """
        asked = [traits] if isinstance(traits, str) else traits
        names = self.traits if asked is None else [self._full_name(name) for name in asked]
        wanted = [layers] if isinstance(layers, int) else layers
        depths = self.layers if wanted is None else [self._known_layer(n) for n in wanted]
        found = [v for v in self._vectors if v.trait in names and v.layer in depths]
        if self._vectors and not found:
            raise BadInputError(
                "No vector has one of these traits at one of these layers.",
                got=(sorted(names), sorted(depths)),
                valid=[vector.key for vector in self._vectors],
            )
        return VectorSet(found)

    def _known_layer(self, layer: int) -> int:
        if layer not in self.layers:
            valid = sorted(self.layers, key=lambda known: abs(known - layer))
            raise BadInputError("No vector lives at that layer.", got=layer, valid=valid)
        return layer

    @property
    def traits(self) -> tuple[str, ...]:
        """Full trait names, each once, in order of appearance."""
        return tuple(dict.fromkeys(vector.trait for vector in self._vectors))

    @property
    def layers(self) -> tuple[int, ...]:
        """The 0-based layers, each once, ascending."""
        return tuple(sorted({vector.layer for vector in self._vectors}))

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites, each once, ascending."""
        return tuple(sorted({vector.site for vector in self._vectors}))

    def at(self, site: Site) -> VectorSet:
        """The vectors of one site, in the set's order: its `traits` name the rows of `matrix`.

        Raises:
            BadInputError: no vector lives there.
        """
        found = [vector for vector in self._vectors if vector.site == site]
        if not found:
            valid = _closest(site, self.sites)
            raise BadInputError("No vector lives at that site.", got=str(site), valid=valid)
        return VectorSet(found)

    def matrix(self, site: Site) -> Float32[Tensor, "trait d_model"]:
        """The unit directions of one site as rows, in the order of `at(site)`.

        Raises:
            BadInputError: no vector lives there.
        """
        return torch.stack([vector.direction for vector in self.at(site)])

    def __add__(self, other: VectorSet) -> VectorSet:
        if not isinstance(other, VectorSet):
            return NotImplemented
        return VectorSet([*self, *other])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VectorSet):
            return NotImplemented
        return self._vectors == other._vectors

    def __hash__(self) -> int:
        return hash(self._vectors)

    def __repr__(self) -> str:
        lines = [f"VectorSet({len(self)} vectors)"]
        for vector in self._vectors[:20]:
            known = vector.reliability
            lines.append(
                f"  {vector.trait} @ {vector.site}: {vector.basis.method}, "
                f"norm {vector.norm:.3g}, split-half cosine {_known(known.split_half_cosine)}, "
                f"bootstrap angle {_known(known.bootstrap_angle_deg, 1)} deg, "
                f"held-out AUC {_known(known.held_out_auc)}, {known.n_pairs} pairs, "
                f"top dimension {known.energy_share_top1:.0%} of energy"
            )
        more = len(self) - 20
        return "\n".join([*lines, f"  ... and {more} more"] if more > 0 else lines)

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of directions and descriptions; equal sets share it."""
        digest = hashlib.sha256()
        for vector in self._vectors:
            digest.update(json.dumps(to_entry(vector), sort_keys=True).encode())
            digest.update(vector.direction.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def check(self, model: object, *, lineage_ok: bool = False) -> None:
        """Refuse a model in which these directions mean nothing.

        Args:
            model: a model, or its `ModelIdentity`.
            lineage_ok: your statement that the model is a fine-tune of the vectors' model.

        Raises:
            MismatchError: names each differing field, both values and the way out.
            BadInputError: `model` is neither.
        """
        identity = _identity(model)
        for basis in dict.fromkeys(vector.basis.model for vector in self._vectors):
            _require_same_model(basis, identity, lineage_ok)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, atomically; `load` returns bit-equal vectors.

        Raises:
            BadInputError: the set is empty, or the path is a folder.
        """
        if not self._vectors:
            raise BadInputError("An empty set of vectors is not worth a file.", got=str(path))
        tensors = {vector.key: vector.direction for vector in self._vectors}
        _format.write(Path(path), tensors, [to_entry(vector) for vector in self._vectors])

    @classmethod
    def load(
        cls, path: str | Path, *, model: object | None = None, lineage_ok: bool = False
    ) -> VectorSet:
        """Read a file that `save` wrote; with a `model`, `check` it too.

        Without a model the vectors can be looked at, but nothing vouches for their use on one.

        Raises:
            BadInputError: the file is missing, cut off, of another schema or malformed.
            MismatchError: the vectors do not fit the model, see `check`.
        """
        tensors, entries = _format.read(Path(path))
        vectors = cls(from_entry(entry, tensors) for entry in entries)
        surplus = sorted(set(tensors) - {vector.key for vector in vectors})
        if surplus:
            raise BadInputError("The file holds tensors its header does not name.", got=surplus)
        if model is not None:
            vectors.check(model, lineage_ok=lineage_ok)
        return vectors


def _known(value: float | None, digits: int = 3) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}"


def _closest(place: int | Site, sites: Iterable[Site]) -> list[str]:
    layer = place if isinstance(place, int) else place.layer
    return [str(site) for site in sorted(sites, key=lambda known: abs(known.layer - layer))]


def _identity(model: object) -> ModelIdentity:
    if isinstance(model, ModelIdentity):
        return model
    if isinstance(model, HookedModel):
        return identify(model)
    raise BadInputError(
        "Vectors are checked against a model or its ModelIdentity.",
        got=type(model).__name__,
        fix="Load the model with trait_probe.load_model.",
    )


def _require_same_model(basis: ModelIdentity, other: ModelIdentity, lineage_ok: bool) -> None:
    differing = list(basis.differences(other, lineage_ok=lineage_ok))
    if not differing:
        return
    values = "; ".join(
        f"{name}: vectors {getattr(basis, name)!r}, model {getattr(other, name)!r}"
        for name in differing
    )
    fix = "Extract the vectors on this model, or map them onto it with vectors.transfer."
    if not any(basis.differences(other, lineage_ok=True)):
        fix = f"If the model is a fine-tune of the same base, pass lineage_ok=True. Else: {fix}"
    raise MismatchError(
        f"The vectors of {basis.id!r} do not fit the model {other.id!r} ({values}).",
        got=differing,
        fix=fix,
    )
