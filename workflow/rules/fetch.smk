# Downloads: `snakemake fetch --configfile config/paper.yaml` downloads every model and data set that may be downloaded.
# Not part of `all`, which only reports what is missing.


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
