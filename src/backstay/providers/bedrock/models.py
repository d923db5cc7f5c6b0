"""Owns what Converse leaves to each model's own API: ``additionalModelRequestFields``, by family of models.

| neutral | Anthropic's models | Amazon Nova |
| --- | --- | --- |
| ``top_k`` | ``top_k`` | ``inferenceConfig.topK`` |
| ``reasoning_budget_tokens`` | ``thinking`` | |
| ``reasoning_effort`` ``none`` | ``thinking`` | ``reasoningConfig`` |
| another ``reasoning_effort`` | (``outputConfig.effort``) | ``reasoningConfig`` |
| ``parallel_tool_calls`` false | ``tool_choice`` | |

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html,
https://docs.aws.amazon.com/nova/latest/nova2-userguide/core-inference.html (2026-11).
"""

from typing import Any, Literal

import msgspec

from backstay.core.chat import ChatRequest
from backstay.providers.bedrock.media import TARGET
from backstay.providers.caller_paths import field_path
from backstay.providers.refusals import refuse

Family = Literal["anthropic", "nova", "other"]

_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_NOVA_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}


def family_of(model_id: str) -> Family:
    """Tell a model's family from its id, its inference profile's or an ARN of either.

    The ARN of one's own profile or deployment does not say it: only what Converse itself knows can be carried then.
    """
    if "anthropic" in model_id or "claude" in model_id:
        return "anthropic"
    return "nova" if "amazon.nova" in model_id else "other"


def write_effort(request: ChatRequest, family: Family) -> str | None:
    """Return Converse's own word for the effort; ``None`` where the model's own field says it, or nobody asks."""
    effort = request.reasoning_effort
    if effort is None or effort == "none" or family == "nova":
        return None
    if effort not in _EFFORTS:
        raise refuse(field_path(request, "reasoning_effort"), f"{TARGET} knows no effort {effort!r}.")
    return _EFFORTS[effort]


def write_model_fields(request: ChatRequest, family: Family) -> dict[str, Any]:
    """Write the fields that only the model itself knows. Raises ``Untranslatable`` for what this one does not."""
    match family:
        case "anthropic":
            return _write_anthropic(request)
        case "nova":
            return _write_nova(request)
        case "other":
            wanted = {
                "top_k": request.top_k,
                "thinking.budget_tokens": request.reasoning_budget_tokens,
                field_path(request, "reasoning_effort"): "none" if request.reasoning_effort == "none" else None,
            }
            _refuse(wanted, "this model")
            _refuse_serial_tools(request)
            return {}


def _write_anthropic(request: ChatRequest) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if request.top_k is not None:
        fields["top_k"] = request.top_k
    if request.reasoning_budget_tokens is not None:
        fields["thinking"] = {"type": "enabled", "budget_tokens": request.reasoning_budget_tokens}
    elif request.reasoning_effort == "none":
        fields["thinking"] = {"type": "disabled"}
    elif "thinking" in request.extras:
        fields["thinking"] = request.extras["thinking"]
    choice = request.tool_choice
    if request.tools and request.parallel_tool_calls is False and (choice is None or choice.mode != "none"):
        mode: dict[str, Any] = {"type": "auto"} if choice is None else {"type": choice.mode}
        named = {"name": choice.name} if choice is not None and choice.name is not None else {}
        fields["tool_choice"] = {**mode, **named, "disable_parallel_tool_use": True}
    return fields


def _write_nova(request: ChatRequest) -> dict[str, Any]:
    _refuse({"thinking.budget_tokens": request.reasoning_budget_tokens}, "Amazon Nova")
    _refuse_serial_tools(request)
    fields: dict[str, Any] = {}
    if request.top_k is not None:
        fields["inferenceConfig"] = {"topK": request.top_k}
    effort = request.reasoning_effort
    if effort == "none":
        fields["reasoningConfig"] = {"type": "disabled"}
    elif effort is not None:
        if effort not in _NOVA_EFFORTS:
            raise refuse(field_path(request, "reasoning_effort"), f"Amazon Nova knows no effort {effort!r}.")
        fields["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": _NOVA_EFFORTS[effort]}
    return fields


def _refuse(fields: dict[str, Any], who: str) -> None:
    for name, value in fields.items():
        if value is not None:
            raise refuse(name, f"{who} on {TARGET} has no form for it.")


def _refuse_serial_tools(request: ChatRequest) -> None:
    if request.tools and request.parallel_tool_calls is False:
        name = field_path(request, "parallel_tool_calls")
        raise refuse(name, f"{TARGET} can ask only Anthropic's models for one tool call at a time.")


class ModelFields(msgspec.Struct, frozen=True, kw_only=True):
    """What ``additionalModelRequestFields`` asks for, in neutral words; ``rest`` has none."""

    top_k: int | None = None
    reasoning_budget_tokens: int | None = None
    reasoning_effort: str | None = None
    parallel_tool_calls: bool | None = None
    rest: dict[str, Any] = {}


def read_model_fields(fields: dict[str, Any]) -> ModelFields:
    """Read what either family's words say."""
    found: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in fields.items():
        match name, value:
            case ("top_k", int()):
                found["top_k"] = value
            case ("inferenceConfig", {"topK": int(top_k)}) if len(value) == 1:
                found["top_k"] = top_k
            case ("thinking", {"type": "enabled", "budget_tokens": int(budget)}):
                found["reasoning_budget_tokens"] = budget
            case ("thinking" | "reasoningConfig", {"type": "disabled"}):
                found["reasoning_effort"] = "none"
            case ("reasoningConfig", {"type": "enabled", "maxReasoningEffort": str(effort)}):
                found["reasoning_effort"] = effort
            case ("tool_choice", {"disable_parallel_tool_use": True}):
                found["parallel_tool_calls"] = False
            case _:
                rest[name] = value
    return ModelFields(**found, rest=rest)
