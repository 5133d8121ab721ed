"""What a step or a flow returns, as it is stored."""

from typing import Any

from worchflow_celery import codec
from worchflow_celery.errors import PayloadTooLarge, UnserializableResult


def encode(who: str, value: Any, annotation: Any, limit: int) -> str:
    """Encode what ``who`` returned; raises an error that says why that cannot be stored."""
    try:
        return codec.encode(value, annotation=annotation, limit=limit)
    except codec.OversizedValue as error:
        raise PayloadTooLarge(
            f"{who} returned at least {error.size} bytes; the limit is {error.limit} "
            "(worchflow_max_payload_bytes): store it elsewhere and return a reference"
        ) from None
    except codec.UnencodableValue as error:
        raise UnserializableResult(f"{who} returned what cannot be stored: {error}") from None
