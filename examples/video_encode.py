"""Progress: how far a long step is, seen while it runs.

In two terminals:

    celery -A examples.video_encode worker
    python -m examples.video_encode
"""

import time

from celery import Celery

from worchflow_celery import Event, Step, Worchflow

app = Celery("examples.video_encode")
app.config_from_object("celeryconfig")
worchflow = Worchflow(app)

FRAMES = 400


@worchflow.flow("encode-video")
def encode_video(event: Event[str], step: Step) -> str:
    def encode() -> str:
        for frame in range(FRAMES):
            time.sleep(0.01)  # stands for the encoder
            # As often as one likes: the newest is written once a second, by another thread.
            step.progress(frame / FRAMES, f"frame {frame} of {FRAMES}")
        return event.data.replace(".mov", ".mp4")

    encoded = step.run("Encode", encode)
    step.run("Upload", print, f"uploaded {encoded}")
    step.progress(1, "uploaded")
    return encoded


def main() -> None:
    video = encode_video.send("holiday.mov")
    shown = 0.0
    while not (execution := video.get()).status.finished:
        if execution.progress and execution.progress.fraction > shown:
            shown = execution.progress.fraction
            print(f"{'#' * round(shown * 40):40} {execution.progress.message}")
        time.sleep(0.2)
    print(f"{'#' * 40} {execution.progress.message}")
    print(f"result: {video.result()}")


if __name__ == "__main__":
    main()
