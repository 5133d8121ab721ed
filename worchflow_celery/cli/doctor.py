"""`doctor`: what is wrong here."""

import click

from worchflow_celery.checkup import Finding, Level, findings
from worchflow_celery.cli import codes
from worchflow_celery.cli.group import Session, with_session, worchflow
from worchflow_celery.cli.output import Output
from worchflow_celery.cli.text import safe

_LOOKS = {Level.OK: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.ERROR: ("✗", "red")}


@worchflow.command()
@click.option("--fix-indexes", is_flag=True, help="Make missing or different indexes anew.")
@with_session
def doctor(session: Session, fix_indexes: bool) -> None:
    """Check the servers, the app's settings and what is stored; 1 when something is wrong."""
    worst = Level.OK
    for finding in findings(session.worchflow.runtime, fix_indexes=fix_indexes):
        _print(session.out, finding)
        if finding.level is Level.ERROR:
            worst = Level.ERROR
    if worst is Level.ERROR:
        click.get_current_context().exit(codes.FAILED)


def _print(out: Output, finding: Finding) -> None:
    glyph, colour = _LOOKS[finding.level]
    if out.as_json:
        out.value(finding)
    elif not out.tty:
        out.line("\t".join(map(safe, (finding.level, finding.check, finding.message, finding.fix))))
    else:
        out.line(f"{out.paint(glyph, colour)} {finding.check}: {safe(finding.message)}")
        if finding.fix:
            out.line(out.paint(f"  → {safe(finding.fix)}", dim=True))
