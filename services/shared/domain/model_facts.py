"""What is known of a model: how much it takes, what it can do, what it costs."""

import msgspec

from services.shared.domain.configuration import Modality
from services.shared.domain.money import Price


class PriceStep(msgspec.Struct, frozen=True, kw_only=True):
    """A price for requests above a size; it applies to all their tokens.

    Attributes:
        above_input_tokens: Input tokens that a request must exceed; -1 = any request.
        price: What it costs then.
    """

    above_input_tokens: int = -1
    price: Price


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about one model of one provider.

    Attributes:
        context_window_tokens: Most tokens of input and output together; 0 = not known.
        max_output_tokens: Most tokens of output; 0 = not known.
        input_modalities: Kinds of input it takes; None = not known.
        tools: Whether it can call tools; None = not known.
        prices: Price steps, the highest first; empty = not known.
    """

    context_window_tokens: int = 0
    max_output_tokens: int = 0
    input_modalities: tuple[Modality, ...] | None = None
    tools: bool | None = None
    prices: tuple[PriceStep, ...] = ()

    def price_for(self, input_tokens: int) -> Price | None:
        """The price of a request of that size; None when it is not known."""
        for step in self.prices:
            if input_tokens > step.above_input_tokens:
                return step.price
        return None
