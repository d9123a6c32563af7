"""What schemathesis cannot know from the document, and which of its findings are not failures."""

import json
import os
import re

import schemathesis
from schemathesis.core.parameters import ParameterLocation
from hypothesis import strategies as st

FORM, LINES = "application/x-www-form-urlencoded", "application/x-ndjson"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
schemathesis.openapi.format("json-text", JSON.filter(lambda value: value is not None).map(json.dumps))
schemathesis.openapi.format(
    "json-object-text", st.dictionaries(st.text(max_size=8), JSON, max_size=4).map(json.dumps)
)


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Describes forms and lines in a way that schemathesis can generate."""
    schemas = raw_schema["components"]["schemas"]
    for path in raw_schema["paths"].values():
        for operation in path.values():
            if not isinstance(operation, dict):
                continue
            for parameter in operation.get("parameters", []):
                if parameter.get("name") == "min_position":
                    # A position that is reached, so that there are answers other than 503.
                    parameter["example"] = os.environ["FUZZ_POSITION"]
            content = operation.get("requestBody", {}).get("content", {})
            if LINES in content:
                line = {"$ref": "#/components/schemas/LineToJoin"}
                content[LINES]["schema"] = {"type": "array", "items": line}
            if FORM in content:
                # schemathesis spreads an object over the form, whatever `encoding` says.
                name = content[FORM]["schema"]["$ref"].rsplit("/", 1)[-1]
                content[FORM]["schema"] = as_form(schemas[name], content[FORM].get("encoding", {}))


def as_form(schema, encoding):
    schema = json.loads(json.dumps(schema))
    schema.pop("examples", None)
    for part in schema.get("oneOf", [schema]):
        for name, value in part.get("properties", {}).items():
            if value.get("type") == "null":
                continue
            if name in encoding and (value.get("type") == "object" or not value):
                kind = "json-object-text" if value else "json-text"
                part["properties"][name] = {"type": "string", "format": kind}
            elif name in encoding:
                # One value or several; several would be spread as well.
                one = value["oneOf"][1] if "oneOf" in value else {"type": "string", "format": "uuid"}
                part["properties"][name] = one
    return schema


@schemathesis.serializer(LINES)
def lines(context, value):
    if isinstance(value, list):
        return "".join(json.dumps(line) + "\n" for line in value).encode()
    return str(value).encode()


def is_wrong(case, location):
    """Whether that part of a request violates the document on purpose."""
    part = case.meta.components.get(location) if case.meta else None
    return part is not None and part.mode.is_negative


@schemathesis.hook
def before_call(context, case, **kwargs):
    """Removes one of two parameters that exclude each other, so that the request is answered."""
    query = case.query or {}
    if is_wrong(case, ParameterLocation.QUERY):
        return
    for one, other in [("distinct_id", "person_id"), ("offset", "cursor")]:
        if one in query and other in query and context.operation.method.lower() == "get":
            del query[one if len(query) % 2 else other]


# Refusals of requests that match the schemas but break a rule that is only stated in words: opaque values,
# parameters that exclude each other, and parameters that must be given.
IN_WORDS = [
    ": min_position must be a value of X-Personview-Position",
    ": cursor must be one that an answer of this list gave",
    ": cursor is of another store or project",
    ": Cannot provide both ",
    ": Must provide either distinct_id or person_id parameter",
    ": The URL is longer than 8192 bytes",
    ": The body is larger than allowed",
    ": A filter may have 100 conditions and 10 levels of groups",
    "it is not a regular expression",
    "it is too large, alone or with the patterns before it",
    ": The field '.*' of a condition is not known",
    # A pattern does not know which days exist.
    "it must be a date such as 2026-03-01 or -7d",
    # A number counts as it is written: 7.0 is an integer in JSON Schema, but not an id.
    "^ids: '.*' is not an id or uuid",
    "is not a distinct id of this person$",
    ": A split must leave the person at least one distinct id",
    ": The person's properties would be larger",
]


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Returns False if the document says in words why this is not a failure."""
    kind = type(failure).__name__
    if kind == "RejectedPositiveData":
        error = response.json()
        told = f"{error.get('attr')}: {error.get('detail')}"
        return not any(re.search(words, told) for words in IN_WORDS)
    if kind == "AcceptedNegativeData":
        if case.media_type == LINES and not is_wrong(case, ParameterLocation.QUERY):
            # A line that cannot be answered has its error in its place.
            return False
        # An empty parameter counts as absent, and of one given several times the last counts.
        return all(value not in ("", [], [""]) for value in (case.query or {}).values())
    return True
