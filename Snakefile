# The embedded study: `snakemake --cores all`. Another study: `snakemake --cores all --configfile config/mini_half.yaml`.
include: "workflow/Snakefile"


localrules:
    default,


rule default:  # Snakemake ignores the default target of an included file
    default_target: True
    input:
        rules.all.input,
