"""`python -m bigain`: handed to the warm process if there is one (`bigain.warm`)."""

import sys

from bigain.warm import hand_over

code = hand_over(sys.argv[1:])
if code is None:
    from bigain.cli import app

    app()
sys.exit(code)
