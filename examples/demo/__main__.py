"""`make demo`, or `python -m examples.demo` with the package installed.

Exit code 0: everything was proven; 1: something was not; 5: there are no servers; after Ctrl-C
128 and the signal's number. Whatever it started has ended by then, and no file is left.
"""

import os
import sys
from contextlib import suppress

from examples.demo import stopping


def main() -> int:
    stopping.listen()
    try:
        # Imported when somebody listens: it takes a second, in which one may press Ctrl-C.
        from examples.demo.performance import perform

        return perform()
    except stopping.Stopped as stopped:
        with suppress(OSError):  # of a terminal that is gone
            print("\n  Stopped: nothing that it started is left.", flush=True)
        return 128 + stopped.number
    except BrokenPipeError:
        # The reader has gone; the interpreter must not try to tell it more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
