# What is published elsewhere: `snakemake fetch --configfile config/paper.yaml` downloads all that may be downloaded.
# Outside `all`, which says what is missing and starts nothing.


localrules:
    fetch,
    fetch_one,


rule fetch:
    input:
        expand(f"{study.results}/fetched/{{name}}", name=study.fetchable()),


rule fetch_one:
    output:
        touch(f"{study.results}/fetched/{{name}}"),
    log:
        f"{study.results}/logs/fetch/{{name}}.log",
    wildcard_constraints:
        name="|".join(study.fetchable()) or "nothing",
    params:
        spec=lambda w: study.fetch_spec(w.name),
    message:
        "download {wildcards.name}"
    shell:
        "python -m bigain fetch {wildcards.name} --spec {params.spec:q} > {log} 2>&1"
