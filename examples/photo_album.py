"""Steps at once: one function for many items, and different functions side by side.

In two terminals:

    celery -A examples.photo_album worker
    python -m examples.photo_album
"""

import threading
import time

from celery import Celery

from worchflow_celery import Event, Step, Worchflow

app = Celery("examples.photo_album")
app.config_from_object("celeryconfig")
worchflow = Worchflow(app)


@worchflow.flow("publish-album", retries=1, retry_delay=0.1)
def publish_album(event: Event[list[str]], step: Step) -> str:
    def shrink(photo: str) -> str:
        if photo == "beach.jpg" and event.attempt == 1:
            raise OSError("the disk is full")
        time.sleep(0.2)  # stands for the work
        print(f"shrunk {photo}")
        return photo.replace(".jpg", "-small.jpg")

    # A step for each photo, four at a time. The next attempt runs those that have no result.
    photos = step.map("Shrink", shrink, event.data, concurrency=4)
    # Both at once, each a step of its own.
    found = step.gather(title=lambda: "Holiday", where=lambda: where(photos))
    return f"{found['title']}: {len(photos)} photos from {found['where']}"


def where(photos: list[str]) -> str:
    assert threading.current_thread() is not threading.main_thread()
    return "the beach" if "beach-small.jpg" in photos else "somewhere"


def main() -> None:
    album = publish_album.send(["beach.jpg", "boat.jpg", "dinner.jpg", "dog.jpg", "sun.jpg"])
    print(f"result: {album.result(timeout=30)}")
    print(f"attempts: {album.get().attempt}")
    for step in sorted(worchflow.steps(album.id), key=lambda step: step.key):
        print(f"step {step.key}: {step.status} in run {step.attempt}")


if __name__ == "__main__":
    main()
