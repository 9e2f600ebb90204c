"""Which requests are reviewed, and how; made once of the configuration."""

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry

from services.model_caller.cascade.decide import Policy
from services.model_caller.levers.caps import cap_of
from services.model_caller.review import Plan, Review
from services.model_caller.review_metrics import ReviewMetrics
from services.shared.domain.cascade.calibration import Calibration
from services.shared.domain.configuration import Configuration, Model
from services.shared.domain.configuration_output import FeatureOutput, Output, WhenInvalid
from services.shared.domain.events import InferenceRequested, Operation, RequestRouted
from services.shared.domain.name_patterns import NamePatterns

ReviewOf = Callable[[Sequence[RequestRouted]], Review | None]
_NO_MODEL = Model(targets=())
_NO_FEATURE = FeatureOutput()


def no_review(_members: Sequence[RequestRouted]) -> Review | None:
    """Nothing is reviewed."""
    return None


class Reviews:
    """The reviews of one configuration."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        calibrations: Mapping[str, Calibration],
        registry: CollectorRegistry,
    ) -> None:
        """Prepare.

        Args:
            configuration: What ``millrace.yaml`` says.
            calibrations: Calibrations by the name of their file; empty name = the shipped one.
            registry: Where metrics are registered.
        """
        self._models = NamePatterns(configuration.models)
        self._features = configuration.features
        self._calibrations = calibrations
        self._metrics = ReviewMetrics(registry)
        self._has_levers = bool(configuration.features) or any(
            model.output != Output() for model in configuration.models.values()
        )

    def of(self, members: Sequence[RequestRouted]) -> Review | None:
        """The review of requests that share a call; None = there is nothing to do.

        Requests to which it would matter are not merged.
        """
        if len(members) > 1:
            return None
        member = members[0]
        is_cascade = member.route.is_cascade
        if not self._has_levers and not is_cascade:
            return None
        request = member.request
        if request.operation == Operation.EMBEDDINGS:
            return None
        match = self._models.find(request.model)
        model = _NO_MODEL if match is None else match.value
        plan = self._plan(request, model, is_cascade=is_cascade)
        return Review(request, plan, self._metrics) if plan.does_something else None

    def _plan(self, request: InferenceRequested, model: Model, *, is_cascade: bool) -> Plan:
        output, cascade = model.output, model.cascade
        feature = self._features.get(request.feature, _NO_FEATURE)
        policy = None
        if is_cascade:
            policy = Policy(
                threshold=cascade.threshold, calibration=self._calibrations[cascade.calibration]
            )
        is_chat = request.operation == Operation.CHAT
        checks = is_chat and request.has_response_format
        return Plan(
            cap=cap_of(request.max_output_tokens, output, feature),
            compacts=output.compact_prompt and is_chat,
            when_invalid=output.when_invalid if checks else WhenInvalid.PASS,
            policy=policy,
            stream=cascade.stream,
            prefix_tokens=cascade.prefix_tokens,
        )
