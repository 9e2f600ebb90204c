"""The models that an OpenAI-compatible endpoint lists.

Asked once, when the stack starts, so that services never disagree on what is served.
"""

from collections.abc import Mapping

import aiohttp
import msgspec

from services.shared.adapters.environment import declared_models, openai_endpoint
from services.shared.adapters.tls import tls_context
from services.shared.domain.configuration_mistakes import is_model_name
from services.shared.domain.default_configuration import OPENAI_KEY_VARIABLE
from services.shared.domain.errors import InvalidConfiguration

MAX_LIST_BYTES = 8 * 1024 * 1024
TIMEOUT_S = 15.0

_REMEDY = "or name the models in MILLRACE_MODELS, e.g. MILLRACE_MODELS=gpt-4o-mini,gpt-4o"


class _Listed(msgspec.Struct):
    id: str


class _ModelList(msgspec.Struct):
    data: list[_Listed]


async def served_models(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Models to serve with no configuration file: those declared, else those listed.

    Without ``OPENAI_API_KEY`` there are none: everything runs on the simulator.

    Raises:
        InvalidConfiguration: The endpoint cannot be asked, refuses the key or lists nothing. Not
            retriable.
    """
    endpoint = openai_endpoint(environ)
    if endpoint is None:
        return ()
    return declared_models(environ) or await listed_models(
        endpoint, api_key=environ[OPENAI_KEY_VARIABLE], environ=environ
    )


async def listed_models(
    base_url: str, *, api_key: str, environ: Mapping[str, str]
) -> tuple[str, ...]:
    """Names of the models that an endpoint lists, sorted.

    ``HTTPS_PROXY``, ``NO_PROXY``, ``SSL_CERT_FILE`` and ``REQUESTS_CA_BUNDLE`` are honoured.

    Raises:
        InvalidConfiguration: The endpoint cannot be asked, refuses the key or lists nothing. Not
            retriable.
    """
    url = f"{base_url}/models"
    try:
        body = await _get(url, api_key=api_key, environ=environ)
        listed = msgspec.json.decode(body, type=_ModelList)
    except (aiohttp.ClientError, TimeoutError) as error:
        why = str(error) or type(error).__name__
        msg = f"{url} cannot be asked for its models: {why}; check OPENAI_BASE_URL, {_REMEDY}"
        raise InvalidConfiguration(msg) from error
    except msgspec.MsgspecError as error:
        msg = f"{url} answers with no list of models; check OPENAI_BASE_URL, {_REMEDY}"
        raise InvalidConfiguration(msg) from error
    names = tuple(sorted({model.id for model in listed.data if is_model_name(model.id)}))
    if not names:
        msg = f"{url} lists no model; check OPENAI_API_KEY, {_REMEDY}"
        raise InvalidConfiguration(msg)
    return names


async def _get(url: str, *, api_key: str, environ: Mapping[str, str]) -> bytes:
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls_context(environ)),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            trust_env=True,
        ) as session,
        session.get(url, headers={"authorization": f"Bearer {api_key.strip()}"}) as response,
    ):
        response.raise_for_status()
        body = b""
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_LIST_BYTES:
                msg = f"the list is longer than {MAX_LIST_BYTES} bytes"
                raise aiohttp.ClientPayloadError(msg)
        return body
