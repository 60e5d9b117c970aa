# A job per cell and range of images: the error of every trial.


rule classify:
    input:
        latents=lambda w: inputs_of(w.cell, "latents"),
        conditions=lambda w: inputs_of(w.cell, "conditions"),
        calibration=lambda w: study.calibration_files(w.cell),
        batch=lambda w: study.batch_files(study.cell(w.cell).backbone),
    output:
        errors=f"{study.results}/cells/{{cell}}/chunk-{{chunk}}.parquet",
        info=f"{study.results}/cells/{{cell}}/chunk-{{chunk}}.parquet.json",
    log:
        f"{study.results}/logs/cells/{{cell}}/chunk-{{chunk}}.log",
    threads: study.config["threads"]
    resources:
        gpu=study.gpus,
    params:
        spec=lambda w: study.job_spec(w.cell, int(w.chunk)),
    message:
        "{wildcards.cell} (images of chunk {wildcards.chunk})"
    shell:
        "python -m bigain classify --spec {params.spec:q} --latents {input.latents} --conditions {input.conditions}"
        " --output {output.errors} --info {output.info} --log {log}"
