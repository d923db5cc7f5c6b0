"""Owns the document of Backstay's own API: OpenAPI 3.1, made from the declarations that it is served from."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from backstay import __version__
from backstay.api.endpoint import Endpoint
from backstay.api.problems import MEDIA_TYPE, Problem
from backstay.core.errors import BackstayError, Forbidden, InvalidRequest, StoreUnavailable, Unauthenticated

_PATTERNS = {
    "trace_id": "^[0-9a-f]{8,32}$",
    "call_id": "^[0-9A-Za-z_-]{1,64}$",
    "budget_id": "^[0-9A-Za-z_-]{1,64}$",
    "holder": "^[0-9A-Za-z_-]{1,64}$",
    "day": "^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$",
    "key_id": "^[0-9A-Za-z_-]{1,64}$",
    "person_id": "^[0-9A-Za-z_-]{1,64}$",
    "alert_id": "^[0-9A-Za-z_-]{1,64}$",
    "channel": "^[0-9A-Za-z_-]{1,64}$",
    "collection": "^[0-9A-Za-z_-]{1,64}$",
    "crawl": "^[0-9A-Za-z_-]{1,64}$",
    "ingest": "^[0-9A-Za-z_-]{1,64}$",
    "target": "^[0-9A-Za-z._-]+(/[0-9A-Za-z._:-]+)+$",
}
_REFERENCE = "#/components/schemas/{name}"
_DESCRIPTION = (
    "Keys, people, traces and costs. The vendors' wires (`/v1/chat/completions`, `/v1/messages`, …) are as their "
    "vendors document them. Money is a decimal string of US dollars, exact; `null` where it is unknown. Times are "
    "RFC 3339. Errors are problem details (RFC 9457)."
)


def openapi_document(endpoints: Sequence[Endpoint[Any, Any, Any]]) -> dict[str, Any]:
    """Write the document of some endpoints."""
    types = [Problem, *(kind for each in endpoints for kind in (each.answer, each.body, each.query))]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    schema_of = {id(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = _machine_paths()
    for endpoint in endpoints:
        path = endpoint.path.replace(":path}", "}")
        parameters = _path_parameters(path) + _query_parameters(components[endpoint.query.__name__], components)
        operation: dict[str, Any] = {
            "operationId": endpoint.handle.__name__,
            "summary": endpoint.summary,
            "parameters": parameters,
            "responses": _responses(endpoint, schema_of[id(endpoint.answer)]),
        }
        if endpoint.method == "POST":
            operation["requestBody"] = {
                "required": any(field.required for field in msgspec.structs.fields(endpoint.body)),
                "content": {"application/json": {"schema": schema_of[id(endpoint.body)]}},
            }
        if endpoint.method == "PUT":
            operation["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
        paths.setdefault(path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Backstay", "version": __version__, "description": _DESCRIPTION},
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in components.items() if not name.endswith("Query")},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key (`bs_…`), or the operator's token; with that, `x-backstay-tenant` names the "
                    "tenant.",
                }
            },
        },
    }


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": _PATTERNS[name]}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _query_parameters(schema: dict[str, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    """Write a query's struct as parameters: what may be left out is absent, never null."""
    parameters: list[dict[str, Any]] = []
    for name, found in schema["properties"].items():
        rules = dict(found)
        description = rules.pop("description", None)
        choices = [choice for choice in rules.get("anyOf", ()) if choice != {"type": "null"}]
        if len(choices) == 1 and len(choices) != len(rules.get("anyOf", ())):
            rules = choices[0]
            description = rules.pop("description", description)
        rules.pop("default", None)
        parameter = {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": rules}
        if rules.get("type") == "array":
            parameter |= {"style": "form", "explode": False}
        parameters.append(parameter | ({"description": description} if description else {}))
    return parameters


def _responses(endpoint: Endpoint[Any, Any, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """Write what may come back: the answer, and each error by its status."""
    errors: list[type[BackstayError]] = [InvalidRequest, Unauthenticated, StoreUnavailable, *endpoint.errors]
    if endpoint.right is not None:
        errors.append(Forbidden)
    told = {error.status: (error.__doc__ or "").partition("\n")[0] for error in errors}
    if endpoint.method == "POST":
        told |= {408: "The body came too slowly.", 413: "The body is too large.", 415: "The body is not JSON."}
    problem = {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(name="Problem")}}}
    content: dict[str, Any] = {endpoint.media_type: {"schema": answer}}
    content |= {name: {"schema": {"type": "string", "format": "binary"}} for name in endpoint.other_media_types}
    good = {"description": endpoint.summary + ".", "content": content}
    return {
        str(endpoint.status): good,
        **{str(status): {"description": words, "content": problem} for status, words in sorted(told.items())},
    }


def _machine_paths() -> dict[str, dict[str, Any]]:
    """Write the paths that machines watch. They need no credential."""
    words = {"type": "object", "additionalProperties": {"type": "string"}}
    health = {"type": "object", "properties": {"status": {"type": "string"}, "checks": words}, "required": ["status"]}
    json, text = {"application/json": {"schema": health}}, {"text/plain": {"schema": {"type": "string"}}}
    anything = {"application/json": {"schema": {"type": "object"}}}
    ready = {"200": ("It can take calls", json), "503": ("It cannot take calls now", json)}
    return {
        "/healthz": _open_path("healthz", "Tell whether this process answers", {"200": ("It does", json)}),
        "/readyz": _open_path("readyz", "Tell whether this worker can take calls, and what ails it", ready),
        "/metrics": _open_path("metrics", "Give figures to Prometheus", {"200": ("Its text format", text)}),
        "/openapi.json": _open_path("openapi", "Give this document", {"200": ("This document", anything)}),
    }


def _open_path(name: str, summary: str, answers: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    responses = {
        status: {"description": words + ".", "content": content} for status, (words, content) in answers.items()
    }
    return {"get": {"operationId": name, "summary": summary, "security": [], "responses": responses}}
