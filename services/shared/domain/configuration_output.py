"""What is asked of answers, and what is done to prompts, in ``millrace.yaml``."""

from enum import StrEnum

from services.shared.domain.configuration_types import CountOrZero, Section


class WhenInvalid(StrEnum):
    """What becomes of an answer that is no JSON, or not of the demanded schema.

    ``PASS``: it is handed on unchecked. ``FAIL``: the request fails. ``REPAIR``: what is around the
    JSON is cut off, else the model is asked once more. ``ESCALATE``: the next target is asked.
    """

    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    REPAIR = "repair"
    ESCALATE = "escalate"


class PromptCaching(StrEnum):
    """What is done for the provider's own prompt cache.

    ``PASS``: the caller's ``cache_control`` goes on as it is. ``INJECT``: long system prompts and
    tools are marked for it, unless the caller marked something.
    """

    PASS = "pass"  # noqa: S105  # no password
    INJECT = "inject"


class FeatureOutput(Section, frozen=True, kw_only=True):
    """How long answers to one feature are.

    Attributes:
        default_max_tokens: Cap of a request that names none; 0 = none.
        max_tokens: Largest cap, whatever the request names; 0 = none.
    """

    default_max_tokens: CountOrZero = 0
    max_tokens: CountOrZero = 0


class Output(FeatureOutput, frozen=True, kw_only=True):
    """What is asked of answers and done to prompts of one alias.

    Attributes:
        when_invalid: What becomes of an answer that is not the JSON that was asked for.
        compact_prompt: Whether repeated whitespace and repeated context are left out of prompts.
        prompt_caching: What is done for the provider's prompt cache.
    """

    when_invalid: WhenInvalid = WhenInvalid.PASS
    compact_prompt: bool = False
    prompt_caching: PromptCaching = PromptCaching.PASS
