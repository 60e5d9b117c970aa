# Tables, figures and the page of a study, rendered beside the folder of its outcomes from that folder alone: no model, no
# data, no torch. `snakemake --cores 1 --snakefile workflow/outcomes.smk --config outcomes=docs/decisive/outcomes`
include: "rules/package.smk"


from bigain.study.outcomes import Outcomes

if "outcomes" not in config:
    raise WorkflowError(
        "--config outcomes=FOLDER is needed: a folder that `bigain outcomes` wrote"
    )
try:
    study = Outcomes(config["outcomes"])
except (OSError, ValueError) as error:
    raise WorkflowError(str(error)) from None


report: "report/workflow.rst"


wildcard_constraints:
    backbone="|".join(study.config["backbones"]),
    dataset="|".join(study.config["datasets"]),


include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/report.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        expand(f"{study.reports}/{{file}}", file=RENDERED),
        f"{study.reports}/manifest.json",
