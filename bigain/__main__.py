"""`python -m bigain`: handed to the warm process if there is one (`bigain.cli.forkserver`)."""

import sys

from bigain.cli.forkserver import hand_over

code = hand_over(sys.argv[1:])
if code is None:
    from bigain.cli.main import main

    main()
sys.exit(code)
