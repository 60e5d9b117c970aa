# A job per cell and range of images: features of the generated images, and the first few images.


rule generate:
    input:
        conditions=lambda w: inputs_of(w.cell, "conditions"),
        calibration=lambda w: study.calibration_files(w.cell),
    output:
        features=f"{study.results}/cells/{{cell}}/chunk-{{chunk}}.safetensors",
        info=f"{study.results}/cells/{{cell}}/chunk-{{chunk}}.safetensors.json",
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
        "python -m bigain generate --spec {params.spec:q} --conditions {input.conditions}"
        " --output {output.features} --info {output.info} --log {log}"
