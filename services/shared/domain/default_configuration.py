"""The configuration where nobody wrote one: the simulator, or what ``OPENAI_API_KEY`` opens."""

from collections.abc import Iterable, Sequence

import msgspec

from services.shared.domain.configuration import (
    Configuration,
    KafkaProducers,
    Model,
    ModelTarget,
    Provider,
    Unpriced,
)
from services.shared.domain.events import Operation

OPENAI_BASE_URL = "https://api.openai.com/v1"
OPENAI_KEY_VARIABLE = "OPENAI_API_KEY"
SIMULATOR_URL = "http://127.0.0.1:8090"

LOCAL_EMBEDDINGS_MODEL = "local/minilm"

DEMO_MODEL = "millrace-demo"
DEMO_EMBEDDINGS_MODEL = "millrace-embed"

_OPENAI = "openai"
_SIMULATOR = "simulator"
_LOCAL = "local"


def simulator_configuration(url: str = SIMULATOR_URL) -> Configuration:
    """Everything on the simulator: a chat model, an embedder, and each of its own by name.

    Args:
        url: Where the simulator is; ``/v1`` is added when it has no path.
    """
    simulator = Provider(
        base_url=_with_version(url), isolates_inputs_by_index=True, free=True, max_in_flight=4096
    )
    return Configuration(
        providers={_SIMULATOR: simulator},
        models={
            DEMO_MODEL: Model(
                targets=(
                    ModelTarget(provider=_SIMULATOR, model="sim-chat"),
                    ModelTarget(provider=_SIMULATOR, model="sim-fast"),
                ),
                operations=(Operation.CHAT, Operation.TEXT_COMPLETION),
            ),
            DEMO_EMBEDDINGS_MODEL: Model(
                targets=(ModelTarget(provider=_SIMULATOR, model="sim-embed"),),
                operations=(Operation.EMBEDDINGS,),
            ),
            "sim-*": Model(targets=(ModelTarget(provider=_SIMULATOR),)),
        },
        kafka_producers=KafkaProducers(enabled=True),
    )


def openai_configuration(
    models: Iterable[str], *, base_url: str = "", simulator_url: str = ""
) -> Configuration:
    """Models of an OpenAI-compatible endpoint under their own names.

    Whoever sets the key and names the endpoint wants its models served, so one of unknown price is
    served at a cost recorded as unknown.

    Args:
        models: Their names; none = whatever name is asked for.
        base_url: The endpoint; empty = OpenAI's own.
        simulator_url: Where the simulator is, to be served too; empty = not at all.
    """
    endpoint = Provider(
        base_url=base_url.rstrip("/") or OPENAI_BASE_URL,
        api_key_env=OPENAI_KEY_VARIABLE,
        unpriced=Unpriced.SERVE,
    )
    target = ModelTarget(provider=_OPENAI)
    simulated = simulator_configuration(simulator_url) if simulator_url else Configuration()
    names = tuple(models) or ("*",)
    return Configuration(
        providers={_OPENAI: endpoint, **simulated.providers},
        models={**dict.fromkeys(names, Model(targets=(target,))), **simulated.models},
        kafka_producers=KafkaProducers(enabled=True),
    )


def with_local_models(configuration: Configuration, urls: Sequence[str]) -> Configuration:
    """Add the models that this machine runs itself: ``local/minilm``, for embeddings.

    Args:
        configuration: What to add them to.
        urls: Where ``services.local_models`` runs, one a process; none = nowhere.
    """
    if not urls:
        return configuration
    first, *others = map(_with_version, urls)
    local = Provider(
        base_url=first, endpoints=tuple(others), isolates_inputs_by_index=True, free=True
    )
    minilm = Model(
        targets=(ModelTarget(provider=_LOCAL, model="minilm"),), operations=(Operation.EMBEDDINGS,)
    )
    return msgspec.structs.replace(
        configuration,
        providers={**configuration.providers, _LOCAL: local},
        models={LOCAL_EMBEDDINGS_MODEL: minilm, **configuration.models},
    )


def _with_version(url: str) -> str:
    root = url.rstrip("/")
    return root if root.count("/") > len("//") else f"{root}/v1"
