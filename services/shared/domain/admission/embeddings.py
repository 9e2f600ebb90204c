"""The form of an embeddings request."""

from services.shared.domain.admission.common_fields import COMMON
from services.shared.domain.admission.form import Form
from services.shared.domain.admission.inputs import non_empty_inputs
from services.shared.domain.admission.limits import MAX_DIMENSIONS
from services.shared.domain.admission.rules import integer, one_of

EMBEDDINGS = Form(
    fields={
        **COMMON,
        "input": non_empty_inputs,
        "encoding_format": one_of("float", "base64"),
        "dimensions": integer(1, MAX_DIMENSIONS),
    },
    required=("model", "input"),
)
