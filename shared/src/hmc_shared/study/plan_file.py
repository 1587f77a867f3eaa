"""A plan as YAML, checked against its schema; a fault is told with the line where it stands."""

from __future__ import annotations

import json
import math
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError, validators
from jsonschema.exceptions import best_match

from hmc_shared.messages import listed, reason, shown
from hmc_shared.object_files import LARGEST_YAML, LoaderWithoutAliases, read_text

Place = tuple[str | int, ...]
"""The keys that lead to a value."""

_FLOAT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")
_TYPES = {
    "array": "a list",
    "object": "a mapping",
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}
_CHECKER = Draft202012Validator.TYPE_CHECKER.redefine(
    "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
)
_VALIDATOR: Any = validators.extend(Draft202012Validator, type_checker=_CHECKER)
"""For which 1.0 is no integer: it would be so in the names of folders."""
_RULES = {
    "minItems": "not be empty",
    "minProperties": "not be empty",
    "uniqueItems": "name each once",
    "minimum": "be at least {}",
    "maximum": "be at most {}",
    "exclusiveMinimum": "be above {}",
    "oneOf": "have either `trials` or `seconds`",
}


class PlanFile:
    """The content of a plan and where its values stand.

    Raises ValueError, with file and line, for a plan that is not as its schema says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Place, int] = {}
        try:
            node = yaml.compose(read_text(path, LARGEST_YAML), LoaderWithoutAliases)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ValueError(f"{path}:{line}: this is not readable as YAML: {error.problem}.") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            said = reason(error)
            about = said if said.startswith(str(path)) else f"{path} is not readable as YAML: {said}."
            raise ValueError(about) from error
        content: Any = self._value(node, ()) if node else None
        if error := best_match(_VALIDATOR(_schema()).iter_errors(content)):
            raise self._wrong(error)
        self.content: dict[str, Any] = content

    def error(self, place: Place, said: str) -> ValueError:
        """What is wrong with a value, with file and line."""
        while place and place not in self.lines:
            place = place[:-1]
        return ValueError(f"{self.path}:{self.lines.get(place, 1)}: {said}")

    def _value(self, node: yaml.Node, place: Place) -> Any:
        self.lines.setdefault(place, node.start_mark.line + 1)
        if len(place) > 20:
            raise self.error(place, "this is nested too deeply.")
        if isinstance(node, yaml.SequenceNode):
            return [self._value(part, (*place, number)) for number, part in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            content: dict[str, Any] = {}
            for key_node, part in node.value:
                key = key_node.value
                if not isinstance(key_node, yaml.ScalarNode):
                    self.lines[(*place, "")] = key_node.start_mark.line + 1
                    raise self.error((*place, ""), "a key should be text.")
                inside = (*place, key)
                self.lines[inside] = key_node.start_mark.line + 1
                if key in content:
                    raise self.error(inside, f"{shown(key)} stands here twice.")
                content[key] = self._value(part, inside)
            return content
        try:
            is_quoted = isinstance(node, yaml.ScalarNode) and node.style
            if node.tag.endswith(":timestamp") or (node.tag.endswith(":str") and is_quoted):
                return node.value  # a date is text, and so is what stands in quotes
            is_float = _FLOAT.fullmatch(node.value)  # 1e-3, which YAML 1.1 takes for text
            value = float(node.value) if is_float else yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise self.error(place, f"this is not readable as YAML: {reason(error)}") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise self.error(place, f"a number should be finite. Found {shown(node.value)}.")
        return value

    def _wrong(self, error: ValidationError) -> ValueError:
        place: Place = tuple(error.absolute_path)
        name = ".".join(map(str, place)) or "the plan"
        rule: str = str(error.validator)
        value: Any = error.validator_value
        instance: Any = error.instance
        if rule in ("additionalProperties", "unevaluatedProperties"):
            known = _known(error.schema)
            key = next(key for key in instance if key not in known)
            return self.error(
                (*place, key), f"`{name}` has no key {shown(key)}; it may have {listed(known, 20)}."
            )
        if rule == "type":
            types = value if isinstance(value, list) else [value]
            what = f"be {' or '.join(_TYPES[kind] for kind in types)}"
        else:
            what = _RULES.get(rule, f"fit {rule} {value}").format(value)
        return self.error(place, f"`{name}` should {what}. Found {shown(error.instance)}.")


@cache
def _schema() -> Any:
    return json.loads(files("hmc_shared.study").joinpath("plan.schema.json").read_text("utf-8"))


def _known(schema: Any) -> list[str]:
    names = list(schema.get("properties", {}))
    if "$ref" in schema:
        names += _schema()["$defs"][schema["$ref"].split("/")[-1]]["properties"]
    return names
