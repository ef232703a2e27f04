"""Texts that remember where they were written, so that an error can name file, line and field."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from trait_probe.errors import BadInputError, nearest

_TEXT_TAG = "tag:yaml.org,2002:str"
_QUOTE_IT = "write it as text; put it in quotes if it looks like a number, a date or yes/no"


@dataclass(frozen=True)
class NotText:
    """A scalar that is no text (number, yes/no, date, nothing), as it was written."""

    raw: str


@dataclass(frozen=True)
class Located:
    """A value and its place.

    Attributes:
        source: the file (or folder) it stands in.
        line: 1-based line; None where the format gives none.
        field: path inside the file, such as `instructions[1].negative`; empty for the whole file.
        value: text, list, mapping, or `NotText`.
    """

    source: Path
    line: int | None
    field: str
    value: str | NotText | list[Located] | dict[str, Located]

    def error(
        self,
        rule: str,
        *,
        got: object = None,
        valid: Iterable[object] = (),
        fix: str | None = None,
    ) -> BadInputError:
        """The house error for this place: `FILE, line N, field F: rule`."""
        line = "" if self.line is None else f", line {self.line}"
        field = f", field `{self.field}`" if self.field else ""
        return BadInputError(f"{self.source}{line}{field}: {rule}", got=got, valid=valid, fix=fix)

    def text(self, *, may_be_empty: bool = False) -> str:
        """The text without surrounding whitespace."""
        if not isinstance(self.value, str):
            raise self.error("must be text", got=self._shape(), fix=_QUOTE_IT)
        if not self.value.strip() and not may_be_empty:
            raise self.error("the text is empty", fix="write the text or leave its entry out")
        return self.value.strip()

    def items(self, at_least: int) -> list[Located]:
        """The items of a list."""
        if not isinstance(self.value, list):
            raise self.error("must be a list", got=self._shape(), fix="start each item with `- `")
        if len(self.value) < at_least:
            raise self.error(
                f"needs at least {at_least} item{'s' if at_least > 1 else ''}",
                got=len(self.value),
                fix="add more, or leave the field out",
            )
        return self.value

    def record(
        self, required: tuple[str, ...], optional: tuple[str, ...] | None = ()
    ) -> dict[str, Located]:
        """The entries of a mapping that has all `required` keys and none but `optional` more.

        `optional=None` allows any more: for formats that carry other tools' settings too.
        """
        if not isinstance(self.value, dict):
            raise self.error("must be a mapping", got=self._shape(), fix="write `key: value` lines")
        known = (*required, *(self.value if optional is None else optional))
        for key, entry in self.value.items():
            if key not in known:
                raise entry.error(
                    "unknown key", got=key, valid=nearest(key, known), fix="rename or remove it"
                )
        for key in required:
            if key not in self.value:
                raise self.error(
                    f"the required key `{key}` is missing",
                    got=", ".join(self.value),
                    fix=f"add `{key}:`",
                )
        return self.value

    def _shape(self) -> str:
        if isinstance(self.value, NotText):
            return self.value.raw or "nothing"
        return {str: "text", list: "a list", dict: "a mapping"}[type(self.value)]


def read_text(path: Path) -> str:
    """A UTF-8 text file, with or without byte-order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{path}: not a UTF-8 text file",
            got=f"byte {error.object[error.start]:#04x} at offset {error.start}",
            fix="save the file as UTF-8",
        ) from error


def read_yaml(path: Path) -> Located:
    """A YAML file with the line of every value.

    Raises:
        BadInputError: malformed or empty YAML, a key given twice, or endless nesting.
    """
    text = read_text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            raise BadInputError(f"{path}, line 1: the file is empty", fix="see the shipped traits")
        return _locate(node, path, "", _line(node))
    except yaml.YAMLError as error:
        raise _malformed(path, text, error) from error
    except RecursionError as error:  # thousands of brackets, or an alias inside its own anchor
        raise BadInputError(f"{path}: nested too deeply", fix="remove the nesting") from error


def _malformed(path: Path, text: str, error: yaml.YAMLError) -> BadInputError:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line, problem = (mark.line + 1 if mark else 1), error.problem or error.context
    else:  # a character that YAML forbids: the reader gives an offset, not a mark
        line, problem = text.count("\n", 0, getattr(error, "position", 0)) + 1, str(error)
    return BadInputError(
        f"{path}, line {line}: malformed YAML",
        got=problem,
        fix="check indentation and quotes there; quote a text that contains `: ` or ` #`",
    )


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _locate(node: yaml.Node, source: Path, field: str, line: int) -> Located:
    if isinstance(node, yaml.MappingNode):
        return Located(source, line, field, _entries(node, source, field))
    if isinstance(node, yaml.SequenceNode):
        items = [
            _locate(item, source, f"{field}[{index}]", _line(item))
            for index, item in enumerate(node.value)
        ]
        return Located(source, line, field, items)
    value = node.value if node.tag == _TEXT_TAG else NotText(str(node.value))
    return Located(source, line, field, value)


def _entries(node: yaml.MappingNode, source: Path, field: str) -> dict[str, Located]:
    entries: dict[str, Located] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        inner = f"{field}.{key}" if field else key
        # The key's line, since a list or a mapping starts only on the line after.
        entry = _locate(value_node, source, inner, _line(key_node))
        if key in entries:
            raise entry.error(
                f"the key is given twice, first on line {entries[key].line}", fix="keep one of them"
            )
        entries[key] = entry
    return entries


def read_json(text: str, source: Path, field: str, line: int | None) -> Located:
    """JSON text, located as a whole: `line` is that of the row in a JSON Lines file."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        at = error.lineno if line is None else line
        raise BadInputError(
            f"{source}, line {at}: malformed JSON", got=error.msg, fix="correct that line"
        ) from error
    return locate_json(value, source, field, line)


def locate_json(value: object, source: Path, field: str, line: int | None) -> Located:
    """Decoded JSON as `Located`: texts, lists and mappings; anything else is `NotText`."""
    if isinstance(value, dict):
        entries = {
            str(key): locate_json(inner, source, f"{field}.{key}" if field else str(key), line)
            for key, inner in value.items()
        }
        return Located(source, line, field, entries)
    if isinstance(value, list):
        items = [
            locate_json(item, source, f"{field}[{index}]", line) for index, item in enumerate(value)
        ]
        return Located(source, line, field, items)
    text = value if isinstance(value, str) else NotText(json.dumps(value))
    return Located(source, line, field, text)
