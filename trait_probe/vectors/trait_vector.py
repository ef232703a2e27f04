"""One trait vector and everything that its meaning depends on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trait_probe.basis import ModelIdentity, Site
from trait_probe.errors import BadInputError, MismatchError, nearest
from trait_probe.vectors import _format, geometry

_UNIT_TOLERANCE = 1e-4
_ENTRY = ("trait", "site", "norm", "basis", "reference", "reliability")
_BASIS_TEXTS = ("position", "pooling", "method", "contrast_hash", "split")
_ORIGIN = (("method", str), ("texts_hash", str), ("r2", float))


@dataclass(frozen=True)
class Origin:
    """Where a direction comes from that was fitted in another model; see `vectors.transfer`.

    Attributes:
        model: the model that it was fitted in.
        site: where, in that model.
        method: a name of `fit.METHODS`.
        texts_hash: hash of the shared texts that the map between the models was fitted on.
        r2: the map's share of held-out variance explained; at most 1.
    """

    model: ModelIdentity
    site: Site
    method: str
    texts_hash: str
    r2: float


@dataclass(frozen=True)
class Basis:
    """Everything that the meaning of a direction depends on.

    Attributes:
        position: the position rule whose activations were pooled, e.g. `response[:5]`.
        pooling: `mean`, `last`, `max` or `none`.
        method: a name of `fit.METHODS`; with the model's name behind it where transferred.
        contrast_hash: hash of the contrast set that the direction was fitted on.
        split: how the held-out pairs were chosen.
        origin: of a direction transferred from another model; None: it was fitted in `model`.
    """

    model: ModelIdentity
    site: Site
    position: str
    pooling: str
    method: str
    contrast_hash: str
    split: str
    origin: Origin | None = None


@dataclass(frozen=True)
class Reference:
    """Mean and standard deviation (activation units) of `dot` on `n` rows of a reference set."""

    mean: float
    std: float
    n: int
    source: str

    def __post_init__(self) -> None:
        _require(math.isfinite(self.mean), "reference mean is finite", self.mean)
        _require(0 < self.std < math.inf, "reference std is finite and above 0", self.std)
        _require(self.n >= 2, "reference set has at least 2 rows", self.n)


@dataclass(frozen=True)
class Reliability:
    """How far the direction itself can be trusted; see `vectors.reliability`.

    Attributes:
        split_half_cosine: mean cosine, in [-1, 1], of directions fitted on random halves; None
            where it was not measured, as of a direction that was searched for.
        bootstrap_angle_deg: median angle, 0 to 180 degrees, to directions of resampled pairs;
            None likewise.
        held_out_auc: in [0, 1], on pairs that neither direction nor sign was fitted on; None
            likewise.
        n_pairs: pairs (of a search: questions) that the direction was fitted on.
        energy_share_top1: share, in (0, 1], of the squared length in the largest dimension.
    """

    split_half_cosine: float | None
    bootstrap_angle_deg: float | None
    held_out_auc: float | None
    n_pairs: int
    energy_share_top1: float

    def __post_init__(self) -> None:
        for name, low, high in (
            ("split_half_cosine", -1, 1),
            ("bootstrap_angle_deg", 0, 180),
            ("held_out_auc", 0, 1),
            ("energy_share_top1", 0, 1),
        ):
            value = getattr(self, name)
            _require(
                value is None or low <= value <= high, f"{name} lies in {low} to {high}", value
            )
        _require(self.n_pairs >= 1, "n_pairs is at least 1", self.n_pairs)


@dataclass(frozen=True, eq=False)
class TraitVector:
    """A unit direction at a site. Equal to another when every field and every bit agrees.

    Attributes:
        trait: full name, e.g. `safety/evil`.
        direction: float32, length 1.
        norm: length before normalizing, in the units of the method.
    """

    trait: str
    direction: Float[Tensor, " d_model"] = field(repr=False)
    norm: float
    basis: Basis
    reference: Reference
    reliability: Reliability

    def __post_init__(self) -> None:
        named = bool(self.trait) and "|" not in self.trait
        _require(named, "trait has a name, without the separator |", self.trait)
        _require(0 < self.norm < math.inf, "norm is finite and above 0", self.norm)
        self._require_unit_float32()
        self._require_model_shape()

    def _require_unit_float32(self) -> None:
        direction, fix = self.direction, "Build vectors with TraitVector.normalized."
        if direction.dtype != torch.float32:
            raise BadInputError(
                f"The direction of {self.trait!r} is not float32.", got=direction.dtype, fix=fix
            )
        length = float(geometry.norm(direction.detach().double()))
        if not abs(length - 1) <= _UNIT_TOLERANCE:  # also true of nan
            raise BadInputError(
                f"The direction of {self.trait!r} does not have length 1.", got=length, fix=fix
            )

    def _require_model_shape(self) -> None:
        model, site = self.basis.model, self.basis.site
        if self.direction.shape != (model.d_model,):
            raise MismatchError(
                f"The direction of {self.trait!r} does not have its model's width (d_model).",
                got=tuple(self.direction.shape),
                valid=[(model.d_model,)],
            )
        if site.needs_layers > model.n_layers or site.layer >= model.n_layers:
            raise MismatchError(
                f"The site of {self.trait!r} is not in its model (n_layers = {model.n_layers}).",
                got=str(site),
                valid=[f"layers 0 to {model.n_layers - 1}"],
            )

    @classmethod
    def normalized(
        cls,
        trait: str,
        direction: Float[Tensor, " d_model"],
        basis: Basis,
        reference: Reference,
        reliability: Reliability,
    ) -> TraitVector:
        """From a direction of any length and precision, which is kept as `norm`.

        Raises:
            BadInputError: the direction is zero or not finite.
        """
        exact = direction.detach().double()
        return cls(
            trait=trait,
            direction=geometry.unit(exact).float(),
            norm=float(geometry.norm(exact)),
            basis=basis,
            reference=reference,
            reliability=reliability,
        )

    @property
    def site(self) -> Site:
        """Where the vector lives."""
        return self.basis.site

    @property
    def layer(self) -> int:
        """The 0-based layer of its site."""
        return self.basis.site.layer

    @property
    def key(self) -> str:
        """`trait|hook name`: unique in a set, and the tensor's name in the file."""
        return f"{self.trait}|{self.site.hook_name}"

    def _rest(self) -> tuple[object, ...]:
        return (self.trait, self.norm, self.basis, self.reference, self.reliability)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TraitVector):
            return NotImplemented
        same = self._rest() == other._rest()
        return same and torch.equal(self.direction.cpu(), other.direction.cpu())

    def __hash__(self) -> int:
        return hash(self._rest())


def to_entry(vector: TraitVector) -> dict[str, Any]:
    """The plain-JSON description of a vector: all but the numbers of its direction."""
    basis = {name: getattr(vector.basis, name) for name in _BASIS_TEXTS}
    if vector.basis.origin is not None:  # left out else: files of fitted vectors stay as they were
        basis["origin"] = _origin_entry(vector.basis.origin)
    return {
        "trait": vector.trait,
        "site": vector.site.hook_name,
        "norm": vector.norm,
        "basis": {"model": vector.basis.model.to_dict(), **basis},
        "reference": asdict(vector.reference),
        "reliability": asdict(vector.reliability),
    }


def from_entry(data: object, tensors: Mapping[str, Tensor]) -> TraitVector:
    """The inverse of `to_entry`, with the direction looked up under its `key`.

    Raises:
        BadInputError: a field is missing, unknown or of the wrong type, or the tensor is missing.
        MismatchError: direction or site do not fit the model that the description names.
    """
    entry = _format.require_keys(data, _ENTRY, "vector entry")
    for name, hint in (("trait", str), ("site", str), ("norm", float)):
        _format.require_type(entry[name], hint, name)
    key = f"{entry['trait']}|{entry['site']}"
    if key not in tensors:
        raise BadInputError(
            "The file has no tensor for a vector of its header.",
            got=key,
            valid=nearest(key, tensors),
        )
    return TraitVector(
        trait=entry["trait"],
        direction=tensors[key],
        norm=entry["norm"],
        basis=_basis(entry["basis"], Site.parse(entry["site"])),
        reference=_format.build(Reference, entry["reference"], "reference"),
        reliability=_format.build(Reliability, entry["reliability"], "reliability"),
    )


def _origin_entry(origin: Origin) -> dict[str, Any]:
    rest = {name: getattr(origin, name) for name, _ in _ORIGIN}
    return {"model": origin.model.to_dict(), "site": origin.site.hook_name, **rest}


def _basis(data: object, site: Site) -> Basis:
    transferred = isinstance(data, dict) and "origin" in data
    names = ("model", *_BASIS_TEXTS, *(["origin"] if transferred else []))
    texts = dict(_format.require_keys(data, names, "basis"))
    origin = _origin(texts.pop("origin")) if transferred else None
    model = _format.build(ModelIdentity, texts.pop("model"), "basis.model")
    for name, value in texts.items():
        _format.require_type(value, str, f"basis.{name}")
    return Basis(model=model, site=site, origin=origin, **texts)


def _origin(data: object) -> Origin:
    where = "basis.origin"
    entry = dict(
        _format.require_keys(data, ("model", "site", *(name for name, _ in _ORIGIN)), where)
    )
    for name, hint in (("site", str), *_ORIGIN):
        _format.require_type(entry[name], hint, f"{where}.{name}")
    model = _format.build(ModelIdentity, entry.pop("model"), f"{where}.model")
    return Origin(model=model, site=Site.parse(entry.pop("site")), **entry)


def _require(holds: bool, rule: str, got: object) -> None:
    if not holds:
        raise BadInputError(f"A vector's {rule}.", got=got)
