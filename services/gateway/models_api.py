"""``GET /v1/models`` and ``/v1/models/{id}``."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from services.gateway.asgi import Request, Send, rendered_headers, send_error, send_whole
from services.gateway.decide import authenticate
from services.shared.domain.admission.common_fields import model
from services.shared.domain.configuration import Model, VirtualKey
from services.shared.domain.errors import PublicError
from services.shared.domain.name_patterns import NamePatterns, is_pattern, matches_any

_OWNER = "millrace"


class ModelsApi:
    """Lists the models that a key may use."""

    def __init__(
        self,
        *,
        models: Mapping[str, Model],
        keys: Mapping[str, VirtualKey],
        created_s: int,
    ) -> None:
        """Use a configuration.

        Args:
            models: Models by alias.
            keys: Virtual keys by id.
            created_s: When the configuration was read, unix seconds.
        """
        self._models = models
        self._patterns = NamePatterns(models)
        self._keys = keys
        self._created_s = created_s

    async def list(self, request: Request, send: Send) -> None:
        """All models with a name of their own; patterns are not listed."""
        key = authenticate(request.all_of(b"authorization"), self._keys)
        if isinstance(key, PublicError):
            await send_error(send, key, request_id=request.id)
            return
        document = {"object": "list", "data": [self._entry(a) for a in self._visible(key)]}
        await _send(send, document, request.id)

    async def get(self, request: Request, send: Send) -> None:
        """One model, by name or by a pattern that it matches."""
        key = authenticate(request.all_of(b"authorization"), self._keys)
        if isinstance(key, PublicError):
            await send_error(send, key, request_id=request.id)
            return
        name = request.parameters[0]
        allowed = not key.models or matches_any(name, key.models)
        if not allowed or model(name) is not None or self._patterns.find(name) is None:
            message = "The model does not exist or you do not have access to it."
            error = PublicError(code="model_not_found", message=message, param="model")
            await send_error(send, error, request_id=request.id)
            return
        await _send(send, self._entry(name), request.id)

    def _visible(self, key: VirtualKey) -> Iterator[str]:
        for alias in self._models:
            if not is_pattern(alias) and (not key.models or matches_any(alias, key.models)):
                yield alias

    def _entry(self, alias: str) -> dict[str, Any]:
        return {"id": alias, "object": "model", "created": self._created_s, "owned_by": _OWNER}


async def _send(send: Send, document: dict[str, Any], request_id: str) -> None:
    headers = rendered_headers({"x-request-id": request_id})
    await send_whole(send, msgspec.json.encode(document), headers=headers)
