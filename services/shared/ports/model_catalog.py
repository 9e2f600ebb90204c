"""Public facts about models, as a capability."""

from typing import Protocol

from services.shared.domain.model_facts import ModelFacts


class ModelCatalog(Protocol):
    """What is publicly known of models."""

    def facts(self, *, provider: str, model: str, at_ms: int) -> ModelFacts | None:
        """What was known of a model at a time; None when it is not known at all.

        Args:
            provider: Name of the provider in the configuration.
            model: The provider's own name of the model.
            at_ms: When, unix ms: prices are dated, some change with the hour.
        """
        ...
