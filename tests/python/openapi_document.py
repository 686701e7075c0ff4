"""What is wrong with an OpenAPI document, by a validator that other people wrote: its form, and examples that do
not fit their schemas."""

import json

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

METHODS = {"get", "put", "post", "delete", "patch", "head", "options"}
ROOT = "urn:fiscus"


def examples(holder):
    """The examples of a body or a parameter, each with a name."""
    if "example" in holder:
        yield "example", holder["example"]
    for name, example in holder.get("examples", {}).items():
        yield name, example["value"]


def operations(document):
    for path, item in document["paths"].items():
        for method in METHODS & item.keys():
            yield f"{method} {path}", item[method]


def holders(document):
    """Everything with a schema and an example of it: where it stands, and the thing itself."""
    for at, operation in operations(document):
        for parameter in operation.get("parameters", []):
            yield f"{at} {parameter['in']} {parameter['name']}", parameter
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{at} request {kind}", media
        for status, response in operation["responses"].items():
            for kind, media in response.get("content", {}).items():
                yield f"{at} {status} {kind}", media
    for name, response in document["components"]["responses"].items():
        for kind, media in response["content"].items():
            yield f"{name} {kind}", media
    for name, schema in document["components"]["schemas"].items():
        for field, value in schema.get("properties", {}).items():
            named = {f"example {at}": {"value": example} for at, example in enumerate(value.get("examples", []))}
            if "example" in value:
                named["example"] = {"value": value["example"]}
            yield f"{name}.{field}", {"schema": value, "examples": named}


def problems(document):
    """What is wrong, a line each, and how many examples were looked at."""
    found = []
    for error in OpenAPIV31SpecValidator(document).iter_errors():
        found.append(f"{'/'.join(map(str, error.absolute_path))}: {error.message}")
    resource = Resource(contents=document, specification=DRAFT202012)
    registry = Registry().with_resource(ROOT, resource)
    checked = 0
    for at, holder in holders(document):
        # The schemas of bodies that are not JSON describe what a reader makes of them.
        if "schema" not in holder or "x-ndjson" in at:
            continue
        # References are within the document, wherever the schema stands.
        schema = json.loads(json.dumps(holder["schema"]).replace('"#/', f'"{ROOT}#/'))
        for name, value in examples(holder):
            checked += 1
            for error in Draft202012Validator(schema, registry=registry).iter_errors(value):
                found.append(f"{at} {name}: {error.json_path}: {error.message}")
    return found, checked
