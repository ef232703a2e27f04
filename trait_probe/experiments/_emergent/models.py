"""The models of a comparison, by role: base, variant, controls."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field

from trait_probe.errors import BadInputError
from trait_probe.experiments._emergent.config import Config
from trait_probe.experiments._handed_in import handed_in
from trait_probe.experiments._run import load_named
from trait_probe.identity import HookedModel, identify

BASE, VARIANT = "base", "variant"


@dataclass(frozen=True)
class HandedIn:
    """Models that came from Python in the place of what the configuration names."""

    base: HookedModel | None = None
    variant: HookedModel | None = None
    controls: tuple[HookedModel, ...] = ()

    def named(self, config: Config) -> Config:
        """The configuration with these marked as handed in.

        Raises:
            BadInputError: a variant or controls without their base.
        """
        if self.base is None and (self.variant is not None or self.controls):
            raise BadInputError(
                "A variant or controls are handed in without their base.",
                got=[identify(model).id for model in (self.variant, *self.controls) if model],
                fix="Hand in the base too.",
            )
        changes: dict[str, object] = {}
        if self.base is not None:
            changes = {
                "base": handed_in(identify(self.base).id),
                "dtype": identify(self.base).dtype,
            }
        if self.variant is not None:
            changes["variant"] = handed_in(identify(self.variant).id)
        if self.controls:
            changes["control"] = tuple(handed_in(identify(model).id) for model in self.controls)
        return config.model_copy(update=changes)

    def by_role(self) -> dict[str, HookedModel]:
        """Those that were handed in."""
        named = {BASE: self.base, VARIANT: self.variant}
        named |= {control_role(i): model for i, model in enumerate(self.controls)}
        return {role: model for role, model in named.items() if model is not None}


def control_role(index: int) -> str:
    """`control-1` and so on."""
    return f"control-{index + 1}"


@dataclass
class Pool:
    """Loads each model when it is needed; with `config.keep == "one"` only the last one stays."""

    config: Config
    given: Mapping[str, HookedModel] = field(default_factory=dict)
    _loaded: dict[str, HookedModel] = field(default_factory=dict)

    @property
    def controls(self) -> tuple[str, ...]:
        """Roles of the controls."""
        n = len(self.config.control) + len(self.config.control_adapter)
        return tuple(control_role(i) for i in range(n))

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role, base first."""
        return (BASE, VARIANT, *self.controls)

    def get(self, role: str) -> HookedModel:
        """The model of a role."""
        if role in self.given:
            return self.given[role]
        if role not in self._loaded:
            if self.config.keep == "one":
                self._loaded.clear()
                gc.collect()
            self._loaded[role] = self._load(role)
        return self._loaded[role]

    def _load(self, role: str) -> HookedModel:
        config = self.config
        how = {"device_map": config.device_map} if config.device_map else {}
        dtype = str(config.dtype)
        if role == BASE:
            return load_named("base", str(config.base), dtype, **how)
        if role == VARIANT:
            if config.variant is not None:
                return load_named("variant", config.variant, dtype, **how)
            return load_named("base", str(config.base), dtype, adapter=config.adapter, **how)
        index = self.controls.index(role)
        if index < len(config.control):
            return load_named("control", config.control[index], dtype, **how)
        adapter = config.control_adapter[index - len(config.control)]
        return load_named("base", str(config.base), dtype, adapter=adapter, **how)

    def name(self, role: str) -> str:
        """How the report calls the model: its id, with its adapter."""
        identity = identify(self.get(role))
        return identity.id if identity.adapter is None else f"{identity.id} + {identity.adapter}"
