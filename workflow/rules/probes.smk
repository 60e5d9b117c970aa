# Probes of the models: maps of token saliency and of merged tokens (Figures 2 and 3), and the effect of each method on the
# frequency bands of paired class differences (Theorem 1) and of margins to the hardest wrong class.


localrules:
    collect_margins,


rule probe_tokens:
    input:
        latents=f"{study.results}/inputs/{{backbone}}/{{dataset}}/latents.safetensors",
    output:
        with_provenance(
            f"{study.results}/probes/{{backbone}}/{{dataset}}/tokens.safetensors"
        ),
    log:
        f"{study.results}/logs/probes/{{backbone}}/{{dataset}}/tokens.log",
    threads: study.config["threads"]
    resources:
        gpu=study.gpus,
    params:
        spec=lambda w: study.token_maps_spec(w.backbone, w.dataset),
    message:
        "look at the tokens of {wildcards.backbone} on {wildcards.dataset}"
    shell:
        "python -m bigain probe-tokens --spec {params.spec:q} --latents {input.latents} --output {output} --log {log}"


rule probe_spectrum:
    input:
        latents=f"{study.results}/inputs/{{backbone}}/{{dataset}}/latents.safetensors",
        conditions=f"{study.results}/inputs/{{backbone}}/{{dataset}}/conditions.safetensors",
    output:
        with_provenance(
            f"{study.results}/probes/{{backbone}}/{{dataset}}/spectrum.parquet"
        ),
    log:
        f"{study.results}/logs/probes/{{backbone}}/{{dataset}}/spectrum.log",
    threads: study.config["threads"]
    resources:
        gpu=study.gpus,
    params:
        spec=lambda w: study.spectrum_spec(w.backbone, w.dataset),
    message:
        "frequency bands of {wildcards.backbone} on {wildcards.dataset} under every token method"
    shell:
        "python -m bigain probe-spectrum --spec {params.spec:q} --latents {input.latents}"
        " --conditions {input.conditions} --output {output} --log {log}"


rule probe_margins:
    input:
        latents=f"{study.results}/inputs/{{backbone}}/{{dataset}}/latents.safetensors",
        conditions=f"{study.results}/inputs/{{backbone}}/{{dataset}}/conditions.safetensors",
        uncompressed=lambda w: study.margins_before(w.backbone, w.dataset, w.arm),
    output:
        with_provenance(
            f"{study.results}/probes/{{backbone}}/{{dataset}}/margins/{{arm}}.parquet"
        ),
    log:
        f"{study.results}/logs/probes/{{backbone}}/{{dataset}}/margins/{{arm}}.log",
    threads: study.config["threads"]
    resources:
        gpu=study.gpus,
    params:
        spec=lambda w: study.arm_margins_spec(w.backbone, w.dataset, w.arm),
    message:
        "margins of {wildcards.backbone} on {wildcards.dataset}, {wildcards.arm}"
    shell:
        "python -m bigain probe-margins {input.uncompressed} --spec {params.spec:q} --latents {input.latents}"
        " --conditions {input.conditions} --output {output} --log {log}"


rule collect_margins:
    input:
        lambda w: study.margin_files(w.backbone, w.dataset).values(),
    output:
        with_provenance(
            f"{study.results}/probes/{{backbone}}/{{dataset}}/margins.parquet"
        ),
    log:
        f"{study.results}/logs/probes/{{backbone}}/{{dataset}}/margins.log",
    params:
        spec=lambda w: study.margins_spec(w.backbone, w.dataset),
    message:
        "margins of {wildcards.backbone} on {wildcards.dataset}"
    shell:
        "python -m bigain collect-margins {input} --spec {params.spec:q} --output {output} --log {log}"
