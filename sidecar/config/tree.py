"""YAML text to a tree of nodes with places: knows YAML, not what the keys mean.

PyYAML's parser gives events; this module composes them, so that hostile input is refused while it is
read: text size, depth, and what aliases expand to are capped (an alias of aliases of aliases is a few
bytes of text and a terabyte of nodes). Recursion is bounded by the cap on depth.

Plain scalars follow YAML 1.2's core schema. PyYAML's own rules are those of YAML 1.1, which read `off`
as false, `0660` as 432, `1:30` as 90 and `2024-10-21` as a date.

Sources: YAML 1.2.2, section 10.3.2 (core schema, tag resolution).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from sidecar.config.problems import Place

__all__ = ["Entries", "Items", "Node", "Scalar", "YamlError", "plain_value", "read"]

MAX_TEXT_CHARS = 4 * 1024 * 1024
MAX_DEPTH = 40
MAX_ALIASED_NODES = 10_000

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_CORE: tuple[tuple[re.Pattern[str], Any], ...] = (
    (re.compile(r"~|null|Null|NULL|"), lambda _: None),
    (re.compile(r"true|True|TRUE|false|False|FALSE"), lambda text: text[0] in "tT"),
    (re.compile(r"[-+]?[0-9]+", re.ASCII), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text[2:], 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda _: float("nan")),
)
_MAX_DIGITS = 4000  # Python refuses to convert longer numbers


class Scalar(msgspec.Struct, frozen=True):
    """One text, and whether it stood there without quotes."""

    place: Place
    text: str
    plain: bool


class Items(msgspec.Struct, frozen=True):
    """A list."""

    place: Place
    nodes: tuple[Node, ...]


class Entries(msgspec.Struct, frozen=True):
    """A map; its keys are texts, and each occurs once."""

    place: Place
    pairs: tuple[tuple[Scalar, Node], ...]


Node = Scalar | Items | Entries


class YamlError(Exception):
    """The text cannot be read as YAML, or must not be."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


def plain_value(text: str) -> Any:
    """What an unquoted scalar stands for: None, a bool, an int, a float, or the text itself."""
    if len(text) <= _MAX_DIGITS:
        for pattern, value in _CORE:
            if pattern.fullmatch(text):
                return value(text)
    return text


def read(name: str, text: str) -> tuple[Node | None, list[YamlError]]:
    """The tree of one source, None when it is empty, and the duplicate keys found in it.

    Raises:
        YamlError: For what makes the rest unreadable.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise YamlError(Place(name, 1, 1), f"the file is larger than {MAX_TEXT_CHARS // 1024 // 1024} MiB")
    composer = _Composer(name)
    try:
        return composer.document(yaml.parse(text, Loader=_Loader)), composer.duplicates
    except yaml.YAMLError as error:
        raise _explain(name, text, error) from None


class _Composer:
    """Turns the events of one source into nodes; lives for one `read`."""

    def __init__(self, name: str) -> None:
        self.duplicates: list[YamlError] = []
        self._name = name
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._aliased = 0
        self._count = 0

    def document(self, events: Iterator[yaml.Event]) -> Node | None:
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise YamlError(self._place(event), "a second document; write everything in one, without ---")
                first = next(events)
                root = self._node(events, first, 0)
        if isinstance(root, Scalar) and root.plain and plain_value(root.text) is None:
            return None
        return root

    def _node(self, events: Iterator[yaml.Event], event: yaml.Event, depth: int) -> Node:
        place = self._place(event)
        if depth > MAX_DEPTH:
            raise YamlError(place, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place)
        assert isinstance(event, yaml.NodeEvent)  # the parser's grammar
        if event.tag not in (None, "!"):  # type: ignore[attr-defined]
            raise YamlError(place, f"tags such as {event.tag} are not supported")  # type: ignore[attr-defined]
        before = self._count
        self._count += 1
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = Scalar(place, event.value, event.implicit[0])
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._items(events, place, depth)
        else:
            node = self._entries(events, place, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._count - before)
        return node

    def _items(self, events: Iterator[yaml.Event], place: Place, depth: int) -> Items:
        nodes: list[Node] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            nodes.append(self._node(events, event, depth + 1))
        return Items(place, tuple(nodes))

    def _entries(self, events: Iterator[yaml.Event], place: Place, depth: int) -> Entries:
        pairs: list[tuple[Scalar, Node]] = []
        seen: dict[str, Place] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._node(events, event, depth + 1)
            if not isinstance(key, Scalar):
                raise YamlError(key.place, "a key must be a text; if it starts with [ or {, quote it")
            if key.plain and key.text == "<<":
                raise YamlError(key.place, "merge keys (<<) are not supported; write the keys out")
            value = self._node(events, next(events), depth + 1)
            if key.text in seen:
                message = f'duplicate key "{key.text}"; it is already at line {seen[key.text].line}'
                self.duplicates.append(YamlError(key.place, message))
                continue
            seen[key.text] = key.place
            pairs.append((key, value))
        return Entries(place, tuple(pairs))

    def _alias(self, event: yaml.AliasEvent, place: Place) -> Node:
        if event.anchor not in self._anchors:
            raise YamlError(place, f'"*{event.anchor}" is YAML\'s alias of an anchor that does not exist; quote it')
        node, count = self._anchors[event.anchor]
        self._aliased += count
        self._count += count
        if self._aliased > MAX_ALIASED_NODES:
            raise YamlError(place, f"aliases stand for more than {MAX_ALIASED_NODES} nodes")
        return node

    def _place(self, event: yaml.Event) -> Place:
        mark: Any = event.start_mark
        return Place(self._name, mark.line + 1, mark.column + 1)


def _explain(name: str, text: str, error: yaml.YAMLError) -> YamlError:
    """A parser's complaint in words that say what to do.

    The two parsers that PyYAML has word and place it differently; the pure one is asked again, so
    that the message does not depend on how PyYAML was built.
    """
    try:
        for _ in yaml.parse(text, Loader=yaml.SafeLoader):
            pass
    except yaml.YAMLError as better:
        error = better
    mark: Any = getattr(error, "problem_mark", None)
    if mark is None:
        return YamlError(Place(name, 1, 1), f"not valid YAML: {' '.join(str(error).split())}")
    problem = getattr(error, "problem", None)
    message = f"not valid YAML: {problem}{_remedy(text.splitlines(), mark, getattr(error, 'context_mark', None))}"
    return YamlError(Place(name, mark.line + 1, mark.column + 1), message)


def _remedy(lines: list[str], mark: Any, opened: Any) -> str:
    """What to do about it: most often a value begins with a character that means something to YAML."""
    before, at = _char(lines, mark.line, mark.column - 1), _char(lines, mark.line, mark.column)
    if before + at == "${":
        return '; quote the reference: "${NAME}"'
    for char in (before if before in "*&!" else "", at if at in "@`%|>" else ""):
        if char:
            return f'; a text that starts with {char} must be quoted, such as "{char}"'
    if before and before in "[{" and at == ":":
        return f'; an address that starts with {before} must be quoted, such as "[::1]:4141"'
    bracket = _char(lines, opened.line, opened.column) if opened is not None else ""
    if bracket and bracket in "[{":
        where = f"line {opened.line + 1}, column {opened.column + 1}"
        return f"; the {bracket} at {where} is not closed, or it begins a text, which must be quoted"
    return "; a tab cannot indent, use spaces" if at == "\t" else ""


def _char(lines: list[str], line: int, column: int) -> str:
    return lines[line][column : column + 1] if 0 <= line < len(lines) and column >= 0 else ""
