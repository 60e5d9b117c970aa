"""`python -m bigain`: run by the fork server if there is one (`bigain.cli.forkserver`), else by this process."""

import sys

from bigain.cli.forkserver import hand_over

code = hand_over(sys.argv[1:])
if code is None:
    from bigain.cli.main import main

    main()
sys.exit(code)
