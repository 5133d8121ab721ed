"""Letters over weeks: sleeps survive restarts and deploys, and end when the customer answers.

In two terminals:

    celery -A examples.drip_campaign worker
    python -m examples.drip_campaign
"""

from datetime import timedelta

from celery import Celery

from worchflow_celery import Event, Step, Worchflow

app = Celery("examples.drip_campaign")
app.config_from_object("celeryconfig")
worchflow = Worchflow(app)

#: A week in real life.
WEEK = timedelta(seconds=2)


@worchflow.flow("drip-campaign")
def drip_campaign(event: Event[str], step: Step) -> str:
    step.run("Welcome", print, f"welcome, {event.data}")
    step.sleep("A week", WEEK)
    for tip in ("first tip", "second tip", "third tip"):
        step.run("Tip", print, f"{tip} for {event.data}")
        # Whichever comes first: an answer of the customer, or the next letter.
        answer = step.wait_for_any("Answer", signals=["bought", "unsubscribed"], timeout=WEEK)
        if answer is not None:
            what, detail = answer
            return f"{event.data} {what} {detail}"
    return f"{event.data} did not answer"


def main() -> None:
    ada, ben = drip_campaign.send("ada"), drip_campaign.send("ben")
    ada.signal("bought", "a book")  # kept until it is asked for
    print(ada.result(timeout=60))
    print(ben.result(timeout=60))
    print("letters to ben:", sum(step.kind == "run" for step in worchflow.steps(ben.id)))


if __name__ == "__main__":
    main()
