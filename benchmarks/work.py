"""What executions do in all contestants: the same input, the same small result of each step."""

from typing import Any


def order(steps: int, *, fails: bool = False) -> dict[str, Any]:
    """The input of an execution; one that ``fails`` does so once, after its last step."""
    return {"customer": "cust_0042", "amount": 1999, "steps": steps, "fails": fails}


def effect(number: int) -> dict[str, Any]:
    """What a step returns; it does nothing, for the machinery is what is measured."""
    return {"number": number, "reference": f"ref_{number:08}", "accepted": True}
