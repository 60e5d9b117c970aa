# From records to numbers: the metrics of every cell, then a tidy table of all metrics.


localrules:
    collect,


rule score_classification:
    input:
        chunks=lambda w: study.chunk_files(study.cell(w.cell)),
        provenance=lambda w: [
            f"{file}.json" for file in study.chunk_files(study.cell(w.cell))
        ],
    output:
        f"{study.results}/cells/{{cell}}/metrics.json",
    log:
        f"{study.results}/logs/cells/{{cell}}/metrics.log",
    wildcard_constraints:
        cell="classification(/[A-Za-z0-9_.@~+-]+){5}",
    params:
        spec=lambda w: study.score_spec(w.cell),
    message:
        "accuracy of {wildcards.cell}"
    shell:
        "python -m bigain score-classification {input.chunks} --spec {params.spec:q} --output {output} --log {log}"


rule score_generation:
    input:
        reference=lambda w: f"{study.results}/inputs/reference/{study.cell(w.cell).dataset}.safetensors",
        chunks=lambda w: study.chunk_files(study.cell(w.cell)),
        provenance=lambda w: [
            f"{file}.json" for file in study.chunk_files(study.cell(w.cell))
        ],
    output:
        f"{study.results}/cells/{{cell}}/metrics.json",
    log:
        f"{study.results}/logs/cells/{{cell}}/metrics.log",
    wildcard_constraints:
        cell="generation(/[A-Za-z0-9_.@~+-]+){5}",
    params:
        spec=lambda w: study.score_spec(w.cell),
    message:
        "Fréchet distance of {wildcards.cell}"
    shell:
        "python -m bigain score-generation {input.chunks} --spec {params.spec:q} --reference {input.reference}"
        " --output {output} --log {log}"


rule collect:
    input:
        lambda w: study.score_files(),
    output:
        results=f"{study.results}/results.parquet",
        others=[
            f"{study.results}/{name}"
            for name in (
                "results.parquet.json",
                "images.parquet",
                "images.parquet.json",
                "cells.json",
            )
        ],
    log:
        f"{study.results}/logs/results.log",
    params:
        spec=lambda w: study.collect_spec(),
    message:
        "collect the metrics of all cells"
    shell:
        "python -m bigain collect --spec {params.spec:q} --output {output.results} --log {log}"


rule score_timesteps:
    input:
        lambda w: study.timesteps_inputs(w.backbone, w.dataset),
    output:
        with_provenance(f"{study.results}/timesteps/{{backbone}}/{{dataset}}.parquet"),
    log:
        f"{study.results}/logs/timesteps/{{backbone}}/{{dataset}}.log",
    params:
        spec=lambda w: study.timesteps_spec(w.backbone, w.dataset),
    message:
        "accuracy of {wildcards.backbone} on {wildcards.dataset} at single timesteps"
    shell:
        "python -m bigain score-timesteps --spec {params.spec:q} --output {output} --log {log}"


rule efficiency:
    input:
        lambda w: study.efficiency_inputs(w.backbone),
    output:
        with_provenance(f"{study.results}/efficiency/{{backbone}}.csv"),
    log:
        f"{study.results}/logs/efficiency/{{backbone}}.log",
    # All cores, so that the job runs alone, since it measures time. `--report` and clusters have no number of cores.
    threads: internals.cores(workflow) or study.config["threads"]
    resources:
        gpu=study.gpus,
    params:
        spec=lambda w: study.efficiency_spec(w.backbone),
    message:
        "operations and seconds of {wildcards.backbone}"
    shell:
        "python -m bigain efficiency --spec {params.spec:q} --output {output} --log {log}"
