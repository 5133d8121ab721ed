"""The beginning and the end of what a reader sees."""

from examples.demo.proof import Claim, Evidence
from examples.demo.screen import Screen
from examples.demo.story import PAYMENTS, STEPS


def title(screen: Screen) -> None:
    """Say what is to be seen."""
    screen.line()
    screen.line(("  worchflow-celery: kill a worker inside a step, and lose nothing", "bold"))
    screen.line()
    screen.line("  Four payments go through one flow:")
    screen.line(f"  {' → '.join(STEPS)}.")
    screen.line("  Their worker is killed in the middle of it. Another one goes on.")
    screen.line()
    screen.line(("  seconds", "dim"))


def runs(screen: Screen, evidence: Evidence) -> None:
    """Show how often each step's function ran."""
    screen.line()
    screen.line(("  How often each step ran, by the side-effect log", "bold"))
    screen.line()
    screen.line((f"{'':12}{''.join(f'{step:>18}' for step in STEPS)}", "dim"))
    for payment in PAYMENTS:
        counts = [len(evidence.runs(payment, step)) for step in STEPS]
        cells = [(f"{count:>18}", "back" if count > 1 else "") for count in counts]
        screen.line((f"  {payment:<10}", payment), *cells)
    screen.line()
    screen.line(
        ("  Twice: the kill came while it ran, so nobody knows how far it got. It ran", "dim")
    )
    screen.line(("  again, with the same step.idempotency_key for the payment provider.", "dim"))


def verdict(screen: Screen, claims: list[Claim]) -> bool:
    """Show what was proven, and return whether all of it holds."""
    screen.line()
    screen.line(("  Proven by MongoDB's records and the side-effect log", "bold"))
    screen.line()
    for claim in claims:
        mark = ("✓", "good") if claim.holds else ("✗", "bad")
        screen.line("  ", mark, f" {claim.text:<38}  ", (claim.measured, "bold"))
    screen.line()
    proven = all(claim.holds for claim in claims)
    if proven:
        screen.line("  Now your own: examples/README.md lists what to try, one feature each.")
    else:
        screen.line(("  NOT as promised: see the lines that are marked above.", "bad"))
    screen.line()
    return proven
