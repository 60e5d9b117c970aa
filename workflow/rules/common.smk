# The study of this config, and what every rule needs from it. Specs come from `bigain.study`; nothing is decided here.
import shutil
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

sys.path.insert(0, workflow.basedir)

from bigain.reporting.contents import (
    figures_of,
    has_printed_values,
    read_tables,
    table_names,
)
from bigain.reporting.package_files import (
    claims_file,
    printed_files,
    tables_file,
    template_files,
)
from bigain.study.fingerprints import changed
from bigain.study.config import ConfigError
from bigain.study.requirements import before_first_job
from bigain.study.status import summary
from bigain.study.study import Study
from bigain.cli.forkserver import KEEP_MEMORY, Warm

try:
    study = Study(config)
except ConfigError as error:
    raise WorkflowError(str(error)) from None

# Jobs run with the Python that runs Snakemake, whether or not its environment was activated.
shell.prefix(
    f"set -euo pipefail; export PATH={Path(sys.executable).parent}:$PATH "
    + " ".join(f"{name}={value}" for name, value in KEEP_MEMORY.items())
    + "; "
)


warm = []  # the process that commands are forked from, where the profile asks for one


wildcard_constraints:
    cell="(classification|generation)(/[A-Za-z0-9_.@~+-]+){5}",
    backbone="|".join(config["backbones"]),
    dataset="|".join(config["datasets"]),
    chunk=r"\d+",
    table="|".join(read_tables(tables_file(study.config))),


onstart:
    missing = before_first_job(
        study,
        jobs=[
            (job.rule.name, job.wildcards_dict)
            for job in workflow.dag.needrun_jobs()
        ],
        local=workflow.local_exec,
    )
    if missing:
        raise WorkflowError(missing)
    for part in changed():
        logger.info(
            f"{part} was changed since its numbers were recorded: what depends on it is computed again"
            f" (`bigain accept {part}` if it gives the same numbers)"
        )
    study.write_plan()
    if study.config["warm"] and workflow.local_exec:
        warm.append(Warm())


onsuccess:
    print(summary(study, ended=True), file=sys.stderr)
    for process in warm:
        process.stop()


onerror:
    print(summary(study, ended=True), file=sys.stderr)
    for process in warm:
        process.stop()


def inputs_of(cell_path: str, name: str) -> str:
    """A shared input of a cell: latents or conditions of its backbone and data set."""
    cell = study.cell(cell_path)
    return f"{study.results}/inputs/{cell.backbone}/{cell.dataset}/{name}.safetensors"
