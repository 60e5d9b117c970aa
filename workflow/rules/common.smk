# The study of the config, and helpers that all rules share. Specs come from `bigain.study`; nothing is decided here.
from snakemake.logging import logger


include: "package.smk"


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
    if internals.plans(workflow):  # regardless of Snakemake's records
        internals.compute_again(workflow, outdated_files(study))
        internals.compute_again(
            workflow,
            to_render_again(Path(study.reports), digest(study.report_spec())),
        )
except ResultError as error:
    raise WorkflowError(str(error)) from None

fork_servers = []  # at most one; local commands are its forks
planned = set()  # output files of this run's jobs


wildcard_constraints:
    cell="(classification|generation)(/[A-Za-z0-9_.@~+-]+){5}",
    backbone="|".join(config["backbones"]),
    dataset="|".join(config["datasets"]),
    arm="[A-Za-z0-9_.@~+-]+/[A-Za-z0-9_.-]+",  # a method and its strength
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
            f"{part} has changed since its numbers were recorded: what depends on it is computed again"
            f" (`bigain accept {part}` if it gives the same numbers)"
        )
    planned.update(internals.planned_outputs(workflow))
    study.write_plan()
    local = internals.runs_locally(workflow) and not internals.uses_containers(
        workflow
    )
    if forkserver.SUPPORTED and study.config["warm"] and local:
        fork_servers.append(forkserver.ForkServer())


onsuccess:
    print(summary(study), file=sys.stderr)
    for server in fork_servers:
        server.stop()


onerror:
    print(summary(study, stopped=planned), file=sys.stderr)
    for server in fork_servers:
        server.stop()


def with_provenance(file: str) -> list[str]:
    """Return a result file and its provenance. Commands get both as `{output}`; other commands would rerun finished jobs."""
    return [file, f"{file}.json"]


def inputs_of(cell_path: str, name: str) -> str:
    """Return a shared input of a cell: latents or conditions of its backbone and data set."""
    cell = study.cell(cell_path)
    return f"{study.results}/inputs/{cell.backbone}/{cell.dataset}/{name}.safetensors"
