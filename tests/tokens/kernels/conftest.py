"""These tests run in Triton's interpreter, in processes of their own that `test_interpreted_kernels.py` starts.

Triton reads TRITON_INTERPRET when it is imported, and from then on interprets every kernel.
"""

import os

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]
