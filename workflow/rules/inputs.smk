# Inputs of the cells: latents, conditions and features of the real images, which all methods share, and the calibrations
# of structural methods.


rule encode_images:
    output:
        with_provenance(
            f"{study.results}/inputs/{{backbone}}/{{dataset}}/latents.safetensors"
        ),
    log:
        f"{study.results}/logs/inputs/{{backbone}}/{{dataset}}/latents.log",
    threads: study.config["threads"]
    resources:
        gpu=study.gpus,
    params:
        spec=lambda w: study.latents_spec(w.backbone, w.dataset),
    message:
        "encode the images of {wildcards.dataset} with {wildcards.backbone}"
    shell:
        "python -m bigain encode-images --spec {params.spec:q} --output {output} --log {log}"


rule encode_conditions:
    output:
        with_provenance(
            f"{study.results}/inputs/{{backbone}}/{{dataset}}/conditions.safetensors"
        ),
    log:
        f"{study.results}/logs/inputs/{{backbone}}/{{dataset}}/conditions.log",
    threads: study.config["threads"]
    resources:
        gpu=study.gpus,
    params:
        spec=lambda w: study.conditions_spec(w.backbone, w.dataset),
    message:
        "encode the candidates and captions of {wildcards.dataset} with {wildcards.backbone}"
    shell:
        "python -m bigain encode-conditions --spec {params.spec:q} --output {output} --log {log}"


rule measure_batch:
    output:
        with_provenance(f"{study.results}/inputs/{{backbone}}/batch.json"),
    log:
        f"{study.results}/logs/inputs/{{backbone}}/batch.log",
    # All cores, so that the job runs alone, since it measures time. `--report` and clusters have no number of cores.
    threads: internals.cores(workflow) or study.config["threads"]
    resources:
        gpu=study.gpus,
    params:
        spec=lambda w: study.batch_spec(w.backbone),
    message:
        "fastest batch of {wildcards.backbone}"
    shell:
        "python -m bigain measure-batch --spec {params.spec:q} --output {output} --log {log}"


rule reference_features:
    output:
        with_provenance(f"{study.results}/inputs/reference/{{dataset}}.safetensors"),
    log:
        f"{study.results}/logs/inputs/reference/{{dataset}}.log",
    threads: study.config["threads"]
    resources:
        gpu=study.gpus,
    params:
        spec=lambda w: study.reference_spec(w.dataset),
    message:
        "features of the real images of {wildcards.dataset}"
    shell:
        "python -m bigain reference-features --spec {params.spec:q} --output {output} --log {log}"


rule calibrate:
    output:
        with_provenance(f"{study.results}/cells/{{cell}}/calibration.safetensors"),
    log:
        f"{study.results}/logs/cells/{{cell}}/calibration.log",
    threads: study.config["threads"]
    resources:
        gpu=study.gpus,
    params:
        spec=lambda w: study.calibration_spec(w.cell),
    message:
        "calibrate for {wildcards.cell}"
    shell:
        "python -m bigain calibrate --spec {params.spec:q} --output {output} --log {log}"
