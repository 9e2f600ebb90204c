"""An answer as the exact cache keeps it, made of the record that ended its request."""

from services.shared.domain.events import CacheEntry, InferenceFinished


def entry_of(finished: InferenceFinished) -> CacheEntry:
    """The answer of a request, to be kept or to be shared.

    Args:
        finished: The terminal record of a request that was answered.
    """
    return CacheEntry(
        fingerprint=finished.fingerprint,
        tenant=finished.tenant,
        request_id=finished.request_id,
        operation=finished.operation,
        response=finished.response,
        response_model=finished.response_model,
        finish_reason=finished.finish_reason,
        usage=finished.usage,
        stored_at=finished.finished_at,
        cost_nanousd=finished.cost_nanousd,
        price_version=_price_version(finished),
    )


def _price_version(finished: InferenceFinished) -> str:
    """The price table behind what it cost."""
    if finished.route is None or not finished.calls:
        return ""
    served = finished.calls[-1]
    return next(
        (
            target.price.version
            for target in finished.route.targets
            if (target.provider, target.model) == (served.provider, served.model)
        ),
        "",
    )
