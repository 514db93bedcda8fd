"""`python -m unlearnbench`, and the installed command: signals first, then all the rest."""

import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    try:
        if sys.path[0] == os.getcwd():  # `python -m` looks there first, and it may hold a stranger's files
            del sys.path[0]
    except OSError:
        pass  # the current folder is gone

from unlearnbench import signals

signals.install()

from unlearnbench.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
