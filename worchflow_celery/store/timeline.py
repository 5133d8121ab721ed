"""What a user reads of the steps of an execution."""

from worchflow_celery import codec
from worchflow_celery.models import StepRecord
from worchflow_celery.store.records import Checkpoint, corrupt, shown


def compensation_of(key: str) -> str:
    """The key by which a user sees what undoes a step."""
    return f"compensate:{key}"


def _weight(run: Checkpoint) -> tuple[int, bool, int, bool]:
    """Which of a step's recorded runs tells of it: what completed it, or the last."""
    return run.again or 0, run.status == "completed", run.attempt, run.status != "waiting"


def step_record_of(execution_id: str, runs: list[Checkpoint]) -> StepRecord:
    """What a user reads of a step, out of all its recorded runs."""
    last = max(runs, key=_weight)
    try:
        result = shown(last.result) if last.status == "completed" else None
    except codec.UndecodableValue as error:
        raise corrupt("step", f"{execution_id} {last.key}", error) from error
    return StepRecord.model_validate(
        {
            "execution_id": execution_id,
            "key": compensation_of(last.key) if last.phase == "compensate" else last.key,
            "name": last.name,
            "kind": last.kind,
            "status": last.status,
            "result": result,
            "error": last.error,
            "attempt": last.attempt,
            "started_at": min(run.started_at for run in runs),
            "finished_at": last.finished_at,
        }
    )
