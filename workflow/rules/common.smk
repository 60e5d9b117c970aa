# The study of the config, and what every rule needs from it. Specs come from `bigain.study`; nothing is decided here.
import shutil
import sys
from functools import cache, partial
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

# A checkout runs the package that lies in it, whatever is installed. Snakemake itself looks beside the main Snakefile.
checkout = Path(workflow.basedir).parent
if (checkout / "bigain" / "__init__.py").is_file():
    sys.path.insert(0, str(checkout))
try:
    from bigain.core.places import importing_this_package, located
except ModuleNotFoundError:
    raise WorkflowError(
        'The package bigain is not installed: pip install "bigain[study]", or pip install -e . in a checkout'
    ) from None

from bigain.core.provenance import ResultError, digest
from bigain.cli.forkserver import KEEP_MEMORY, ForkServer
from bigain.reporting.commands import (
    PROTOCOL,
    figure_commands,
    rendered_files,
    table_commands,
    tables_in_order,
)
from bigain.reporting.contents import check_report_files, figures_of
from bigain.reporting.package_files import tables_file, template_files
from bigain.reporting.targets import check_targets
from bigain.reporting.verification import to_render_again
from bigain.study import snakemake_internals as internals
from bigain.study.config import ConfigError, check_files
from bigain.study.fingerprints import changed
from bigain.study.products import outdated_files, result_files
from bigain.study.requirements import before_first_job, device_here
from bigain.study.status import summary
from bigain.study.study import Study


configfile: str(located("config/config.yaml"))


if internals.plans_for_this_machine(workflow):
    config["device"] = device_here(config.get("device", "auto"))

try:
    check_files(internals.config_files(workflow))
    study = Study(config)
    check_report_files(study.config)
    check_targets(study, internals.named_files())
except ConfigError as error:
    raise WorkflowError(str(error)) from None

try:
    if internals.plans(workflow):  # whatever Snakemake's own records say
        internals.compute_again(workflow, outdated_files(study))
        internals.compute_again(
            workflow,
            to_render_again(Path(study.reports), digest(study.report_spec())),
        )
except ResultError as error:
    raise WorkflowError(str(error)) from None

# Jobs run with the Python and the package that planned them, whether or not their environment was activated.
exports = [f"{name}={value}" for name, value in KEEP_MEMORY.items()]
if not internals.uses_containers(workflow):
    exports.append(f"PATH={Path(sys.executable).parent}:$PATH")
    exports += [f"{name}={value}" for name, value in importing_this_package().items()]
shell.prefix(f"set -euo pipefail; export {' '.join(exports)}; ")

fork_servers = []  # at most one, of which local commands are forks


wildcard_constraints:
    cell="(classification|generation)(/[A-Za-z0-9_.@~+-]+){5}",
    backbone="|".join(config["backbones"]),
    dataset="|".join(config["datasets"]),
    chunk=r"\d+",


onstart:
    missing = before_first_job(
        study,
        jobs=internals.planned_jobs(workflow),
        local=internals.runs_locally(workflow),
        cores=internals.cores(workflow),
    )
    if missing:
        raise WorkflowError(missing)
    for part in changed():
        logger.info(
            f"{part} was changed since its numbers were recorded: what depends on it is computed again"
            f" (`bigain accept {part}` if it gives the same numbers)"
        )
    study.write_plan()
    local = internals.runs_locally(workflow) and not internals.uses_containers(
        workflow
    )
    if study.config["warm"] and local:
        fork_servers.append(ForkServer())


onsuccess:
    print(summary(study, ended=True), file=sys.stderr)
    for server in fork_servers:
        server.stop()


onerror:
    print(summary(study, ended=True), file=sys.stderr)
    for server in fork_servers:
        server.stop()


def with_provenance(file: str) -> list[str]:
    """A result file and its provenance. Commands get both as `{output}`, since a changed command runs finished jobs again."""
    return [file, f"{file}.json"]


def inputs_of(cell_path: str, name: str) -> str:
    """A shared input of a cell: latents or conditions of its backbone and data set."""
    cell = study.cell(cell_path)
    return f"{study.results}/inputs/{cell.backbone}/{cell.dataset}/{name}.safetensors"
