"""The thin skin of every experiment: its command over tyro, its steps for notebooks.

Exit codes: 0 when the experiment ran, whatever its verdicts; 2 for bad input; 130 after Ctrl-C,
which leaves a run that the same command resumes.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
import tyro

from trait_probe.errors import BadInputError, TraitProbeError, nearest

ConfigT = TypeVar("ConfigT", bound=pydantic.BaseModel)

RUN_FOLDER = "the run's folder; default runs/NAME/HASH-OF-CONFIG. The same command resumes it."
KEPT = "What was finished is kept; the same command goes on from there."


class ExperimentConfig(pydantic.BaseModel):
    """Base of every experiment's configuration: frozen, strict about names, plain JSON."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _in_house_form(cls, data: Any, handler: Callable[[Any], Any]) -> Any:
        # Not a ValueError, so pydantic and tyro let it through as it is.
        try:
            return handler(data)
        except pydantic.ValidationError as error:
            raise _invalid(error, cls) from error


def step(module: str, steps: Mapping[str, str], name: str) -> Any:
    """A step that an experiment offers, from the module of the package that `steps` names.

    Loaded on first use, so that importing an experiment, as `--help` does, needs no torch.

    Raises:
        AttributeError: it offers none of this name.
    """
    if name not in steps:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    return getattr(import_module(f"trait_probe.{steps[name]}"), name)


def main(
    config_class: type[ConfigT],
    run: Callable[[ConfigT, Path | None], object],
    *,
    prog: str,
    description: str,
    argv: Sequence[str] | None = None,
    out_help: str = RUN_FOLDER,
    when_stopped: str = KEPT,
    config_file: bool = True,
) -> int:
    """Parse flags (and `--config FILE`), run, and turn errors into one screen and an exit code.

    Args:
        out_help: what `--out` is, for --help.
        when_stopped: what Ctrl-C leaves.
        config_file: whether `--config` names a file of flags, and not something of the command's.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        default = _config_file(config_class, arguments) if config_file else config_class()
        config, out = _parse(config_class, default, prog, description, arguments, out_help)
        run(config, out)
    except TraitProbeError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{prog}: stopped. {when_stopped}", file=sys.stderr)
        return 130
    return 0


def _parse(
    config_class: type[ConfigT],
    default: ConfigT,
    prog: str,
    description: str,
    arguments: list[str],
    out_help: str,
) -> tuple[ConfigT, Path | None]:
    # A class, not a function whose defaults are set afterwards: a decorated function keeps its own.
    command = dataclasses.make_dataclass(
        "Command",
        [
            (
                "config",
                Annotated[config_class, tyro.conf.OmitArgPrefixes],
                dataclasses.field(default_factory=lambda: default),
            ),
            ("out", Annotated[Path | None, tyro.conf.arg(help=out_help)], None),
        ],
    )
    parsed: Any = tyro.cli(
        command,
        prog=prog,
        description=description,
        args=arguments,
        config=(tyro.conf.FlagConversionOff,),
    )
    return parsed.config, parsed.out


def _config_file(config_class: type[ConfigT], arguments: list[str]) -> ConfigT:
    """The configuration that flags start from; takes `--config FILE` out of `arguments`."""
    path = _take_option(arguments, "--config")
    if path is None:
        return config_class()
    return load_config(config_class, Path(path))


def load_config(config_class: type[ConfigT], path: Path) -> ConfigT:
    """Read a configuration written as JSON (a run's `config.json`).

    Raises:
        BadInputError: no such file, not JSON (with its line), unknown or invalid fields.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError("The configuration file cannot be read.", got=str(path)) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"{path} is not JSON: {error}.", fix="Give a config.json that a run wrote."
        ) from error
    if not isinstance(data, dict):
        raise BadInputError(f"{path} holds no JSON object.", got=type(data).__name__)
    return config_class.model_validate(data)


def _take_option(arguments: list[str], name: str) -> str | None:
    for place, argument in enumerate(arguments):
        if argument.startswith(f"{name}="):
            del arguments[place]
            return argument.partition("=")[2]
        if argument == name:
            if place + 1 == len(arguments):
                raise BadInputError(f"{name} needs a file.", fix=f"Write {name} FILE.")
            value = arguments[place + 1]
            del arguments[place : place + 2]
            return value
    return None


def _invalid(
    error: pydantic.ValidationError, config_class: type[pydantic.BaseModel]
) -> BadInputError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return BadInputError(
            "The configuration has an unknown field.",
            got=field,
            valid=nearest(field, config_class.model_fields),
            fix="See --help for each field.",
        )
    return BadInputError(
        f"The configuration's {field} is not valid: {first['msg']}.",
        got=first.get("input"),
        fix="See --help for each field's meaning and range.",
    )
