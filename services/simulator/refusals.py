"""Answers that say no, in OpenAI's error objects."""

import msgspec

from services.simulator.behaviour import RetryAfter, UnknownModel

INVALID = "invalid_request_error"


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call gets no answer.

    Attributes:
        status: HTTP status.
        message: For people.
        type: OpenAI's ``error.type``.
        code: OpenAI's ``error.code``; "" = null.
        param: The field at fault; "" = null.
        retry_after: When to come back; None = not said.
        should_retry: ``x-should-retry``; None = not said.
    """

    status: int
    message: str
    type: str = INVALID
    code: str = ""
    param: str = ""
    retry_after: RetryAfter | None = None
    should_retry: bool | None = None

    def body(self) -> bytes:
        """The error object."""
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param or None,
            "code": self.code or None,
        }
        return msgspec.json.encode({"error": error})


_OVERLOADED = "service_unavailable_error"
_BY_STATUS = {
    400: (INVALID, "", "The request is invalid."),
    401: (INVALID, "invalid_api_key", "Incorrect API key provided."),
    403: ("permission_error", "", "The key may not use this model."),
    404: (INVALID, "model_not_found", "The model does not exist or you do not have access to it."),
    408: ("timeout_error", "", "The request took too long."),
    409: (INVALID, "", "The request conflicts with another one."),
    413: (INVALID, "", "The request is too large."),
    422: (INVALID, "", "The request could not be processed."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."),
    502: ("server_error", "", "Bad gateway."),
    503: (_OVERLOADED, "server_is_overloaded", "The model is overloaded. Please try again later."),
    504: ("timeout_error", "", "The model did not answer in time."),
    529: ("overloaded_error", "", "Overloaded."),
}
_SERVER_ERROR = ("server_error", "", "The server had an error while processing your request.")
_CLIENT_ERROR = (INVALID, "", "The request was refused.")

_BY_WORD = {
    "quota": Refusal(
        status=429,
        message="You exceeded your current quota, please check your plan and billing details.",
        type="insufficient_quota",
        code="insufficient_quota",
        should_retry=False,
    ),
    "context": Refusal(
        status=400,
        message="This model's maximum context length is 0 tokens. Please reduce the length.",
        code="context_length_exceeded",
        param="messages",
    ),
    "content-policy": Refusal(
        status=400,
        message="The request was rejected as a result of our safety system.",
        code="content_policy_violation",
    ),
}


def refusal_from_failure(failure: int | str, *, retry_after: RetryAfter | None) -> Refusal:
    """The refusal that option ``fail`` asks for.

    Args:
        failure: An HTTP status, or a word of ``grammar.FAILURE_WORDS``.
        retry_after: Hint to send along.
    """
    if isinstance(failure, str):
        return msgspec.structs.replace(_BY_WORD[failure], retry_after=retry_after)
    unlisted = _CLIENT_ERROR if failure < 500 else _SERVER_ERROR
    kind, code, message = _BY_STATUS.get(failure, unlisted)
    return Refusal(status=failure, message=message, type=kind, code=code, retry_after=retry_after)


def unknown_model(unknown: UnknownModel) -> Refusal:
    """No such model, and what is wrong with its name."""
    return Refusal(
        status=404,
        message=f"The model `{unknown.model[:64]}` does not exist: {unknown.why}.",
        code="model_not_found",
        param="model",
    )


def invalid(message: str, *, param: str = "", code: str = "") -> Refusal:
    """A request that is wrong in itself."""
    return Refusal(status=400, message=message, param=param, code=code)


def context_exceeded(*, limit_tokens: int, input_tokens: int, output_tokens: int) -> Refusal:
    """Input and asked output do not fit the model's context window."""
    asked = input_tokens + output_tokens
    return Refusal(
        status=400,
        message=(
            f"This model's maximum context length is {limit_tokens} tokens. However, you requested "
            f"{asked} tokens ({input_tokens} in the input, {output_tokens} in the completion). "
            "Please reduce the length of the input or completion."
        ),
        code="context_length_exceeded",
        param="messages",
    )


def rate_limited(*, what: str, limit: int, wait_ms: float, model: str) -> Refusal:
    """A model's ``rpm`` or ``tpm`` is used up.

    Args:
        what: ``requests`` or ``tokens``.
        limit: Per minute.
        wait_ms: Until the call would be admitted.
        model: Its name.
    """
    return Refusal(
        status=429,
        message=(
            f"Rate limit reached for {model[:64]} on {what} per min: Limit {limit}. "
            f"Please try again in {wait_ms / 1_000:.3f}s."
        ),
        type=what,
        code="rate_limit_exceeded",
        retry_after=RetryAfter("both", wait_ms),
    )


OVERLOADED = Refusal(
    status=503,
    message="Too many calls are queued for this model. Please try again later.",
    type=_OVERLOADED,
    code="server_is_overloaded",
    retry_after=RetryAfter("seconds", 1_000),
)
WRONG_KEY = Refusal(status=401, message="Incorrect API key provided.", code="invalid_api_key")
TOO_LARGE = Refusal(status=413, message="The request's body is too large.", code="body_too_large")
NOT_FOUND = Refusal(status=404, message="Unknown request URL.", code="unknown_url")
METHOD_NOT_ALLOWED = Refusal(
    status=405, message="Not allowed to use this method here.", code="method_not_allowed"
)
