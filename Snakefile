# The whole study: `snakemake --cores all`. Another one: `snakemake --cores all --configfile config/mini_half.yaml`.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/classify.smk"
include: "workflow/rules/generate.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/probes.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/fetch.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        f"{study.reports}/index.html",
        expand(f"{study.reports}/{{figure}}.pdf", figure=FIGURES),
        f"{study.reports}/schedules.csv",
        f"{study.reports}/{DOCUMENT}",
        expand(f"{study.reports}/{{table}}.tex", table=EVERY_TABLE),
