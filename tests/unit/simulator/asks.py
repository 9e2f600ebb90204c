"""Builders of requests and plans for the simulator's tests."""

import json
from typing import Any

from services.simulator.asking import Asked, asked_from_request
from services.simulator.behaviour import Behaviour, Operation
from services.simulator.decide import Plan, behaviour_from_model, plan_answer, struck_faults
from services.simulator.refusals import Refusal
from services.simulator.requests import request_from_body

_PATH_FIELD = {
    Operation.CHAT: "messages",
    Operation.COMPLETION: "prompt",
    Operation.EMBEDDING: "input",
}


def known(model: str) -> Behaviour:
    """The behaviour of a model name that is in the grammar."""
    behaviour = behaviour_from_model(model)
    assert isinstance(behaviour, Behaviour), behaviour
    return behaviour


def asked_or_refused(
    model: str = "sim-fast",
    *,
    operation: Operation = Operation.CHAT,
    content: object = "What is a queue?",
    **fields: Any,
) -> Asked | Refusal:
    """What a request asks for; ``content`` is the user's message, the prompt or the input."""
    value = [{"role": "user", "content": content}] if operation is Operation.CHAT else content
    body = {"model": model, _PATH_FIELD[operation]: value} | fields
    request = request_from_body(operation, json.dumps(body).encode())
    return asked_from_request(request, known(model))


def asked(
    model: str = "sim-fast",
    *,
    operation: Operation = Operation.CHAT,
    content: object = "What is a queue?",
    **fields: Any,
) -> Asked:
    """The same, of a request that is not refused."""
    understood = asked_or_refused(model, operation=operation, content=content, **fields)
    assert isinstance(understood, Asked), understood
    return understood


def planned(
    model: str = "sim-fast",
    *,
    operation: Operation = Operation.CHAT,
    content: object = "What is a queue?",
    **fields: Any,
) -> Plan:
    """The plan of a request's answer."""
    wanted = asked(model, operation=operation, content=content, **fields)
    behaviour = known(model)
    return plan_answer(wanted, behaviour, struck_faults(behaviour, wanted.seed, earlier_calls=0))
