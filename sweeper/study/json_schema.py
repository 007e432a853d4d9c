"""The JSON Schema of study files, for editors (yaml-language-server): completion, types and descriptions."""

from __future__ import annotations

from typing import Any

from sweeper.study.schema import StudyFile

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of a study file; every field of a cell may be a value, a range or a list of both."""
    schema = StudyFile.model_json_schema()
    blocks = schema["properties"]["cells"]
    description = blocks.pop("description")
    one = blocks["items"]
    schema["properties"]["cells"] = {"description": description, "anyOf": [one, blocks]}
    return {"$schema": DRAFT, **_whole(_tidy(schema))}


def _whole(schema: dict[str, Any]) -> dict[str, Any]:
    """What is required is so of a file that extends no other, and one that does may drop the refinement."""
    sections = {key: entry["$ref"].rpartition("/")[2] for key, entry in schema["properties"].items() if "$ref" in entry}
    wanted = {key: schema["$defs"][name].pop("required", None) for key, name in sections.items()}
    own: dict[str, Any] = {key: {"required": names} for key, names in wanted.items() if names}
    of_block = {"required": schema["$defs"]["CellBlock"].pop("required")}
    own["cells"] = of_block
    schema["properties"]["cells"]["items"] = of_block  # a list of blocks is not merged with another
    refine = schema["properties"]["refine"]
    refine["anyOf"] = [{"$ref": refine.pop("$ref")}, {"type": "null"}]
    alone = {"required": schema.pop("required"), "properties": own}
    return {**schema, "if": {"required": ["extends"]}, "else": alone}


def _tidy(node: Any, names: bool = False) -> Any:
    """Without pydantic's titles, and without null, which a study file has no use for. `names`: the keys of `node` are
    names of properties, not words of the schema."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {key: _tidy(value) for key, value in node.items()}
    choices = [choice for choice in node.get("anyOf", []) if choice != {"type": "null"}]
    if "anyOf" in node and len(choices) == 1:
        node = {**{key: value for key, value in node.items() if key != "anyOf"}, **choices[0]}
    return {
        key: _tidy(value, names=key in ("properties", "$defs"))
        for key, value in node.items()
        if key != "title" and not (key == "default" and value is None)
    }
