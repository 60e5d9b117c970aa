# The whole study: `snakemake --cores all`. Another one: `snakemake --cores all --configfile config/mini_half.yaml`.
include: "workflow/Snakefile"


localrules:
    default,


rule default:  # Snakemake takes no default target from an included file
    default_target: True
    input:
        rules.all.input,
