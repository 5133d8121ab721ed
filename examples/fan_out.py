"""Fan out: over a chord of tasks that a project has already, and over executions of a flow.

In two terminals:

    celery -A examples.fan_out worker
    python -m examples.fan_out
"""

from celery import Celery, chord

from worchflow_celery import Event, Step, Worchflow
from worchflow_celery.errors import ChildFailed, TaskFailed

app = Celery("examples.fan_out")
app.config_from_object("celeryconfig")
app.conf.update(result_backend=app.conf.broker_url)  # Celery needs it for chords, and for no more
worchflow = Worchflow(app)


@app.task(ignore_result=False)
def count_words(text: str) -> int:
    return len(text.split())


@app.task
def total(counts: list[int]) -> int:
    return sum(counts)


@worchflow.flow("translate")
def translate(event: Event[str], step: Step) -> str:
    if not event.data:
        raise ValueError("there is nothing to translate")
    return step.run("Translate", str.upper, event.data)


@worchflow.flow("publish-book")
def publish_book(event: Event[list[str]], step: Step) -> str:
    # The tasks are as they were. Their answer comes through their own callbacks.
    words = step.apply("Count", chord([count_words.s(text) for text in event.data], total.s()))
    try:
        chapters = step.invoke_all("Translate", translate, event.data)
    except (ChildFailed, TaskFailed) as failure:
        return f"not published: {str(failure).rpartition(': ')[2]}"
    return f"{words} words: {' / '.join(chapters)}"


def main() -> None:
    print(publish_book.send(["it was", "a dark and stormy", "night"]).result(timeout=30))
    print(publish_book.send(["it was", ""]).result(timeout=30))
    print("chapters:", len(worchflow.find(flow="translate")))


if __name__ == "__main__":
    main()
