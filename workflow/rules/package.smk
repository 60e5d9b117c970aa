# The package whose commands the jobs run, and their Python.
import shutil
import sys
from functools import cache, partial
from pathlib import Path

from snakemake.exceptions import WorkflowError

# A checkout runs the package that it contains, whatever is installed. Snakemake itself looks beside the main Snakefile.
checkout = Path(workflow.basedir).parent
if (checkout / "bigain" / "__init__.py").is_file():
    sys.path.insert(0, str(checkout))
try:
    from bigain.core.places import importing_this_package, located
except ModuleNotFoundError:
    raise WorkflowError(
        'The package bigain is not installed: pip install "bigain[study]", or pip install -e . in a checkout'
    ) from None

from bigain.cli import forkserver
from bigain.core.provenance import ResultError, digest
from bigain.reporting.commands import (
    PROTOCOL,
    figure_commands,
    is_ranked,
    rendered_files,
    table_commands,
    tables_in_order,
)
from bigain.reporting.contents import check_report_files, figures_of
from bigain.reporting.package_files import claims_file, tables_file, template_files
from bigain.reporting.targets import check_targets
from bigain.reporting.verification import to_render_again
from bigain.study import snakemake_internals as internals

# Jobs run with the Python and the package that planned them, whether or not their environment was activated.
exports = [f"{name}={value}" for name, value in forkserver.KEEP_MEMORY.items()]
if not internals.uses_containers(workflow):
    exports.append(f"PATH={Path(sys.executable).parent}:$PATH")
    exports += [f"{name}={value}" for name, value in importing_this_package().items()]
shell.prefix(f"set -euo pipefail; export {' '.join(exports)}; ")
