# Training of the embedded models. Not part of `all`: `snakemake --cores 2 train_models` takes hours on a CPU. Then compare
# the folders in training/ with resources/, copy what is better, and update resources/SHA256SUMS with `bigain checksums`.


rule train_models:
    input:
        "training/mini-unet/model/model_index.json",
        "training/mini-dit/model/model_index.json",
        "training/mini-mmdit/model/model_index.json",
        "training/fashion-net.safetensors",


rule train_autoencoder:
    output:
        "training/autoencoder/model/config.json",
    log:
        "training/logs/autoencoder.log",
    threads: 2
    params:
        data=study.config["fashion_mnist"],
    shell:
        "python -m bigain train autoencoder --data {params.data:q} --work training/autoencoder --output {output}"
        " --threads {threads} > {log} 2>&1"


rule train_pipeline:
    input:
        "training/autoencoder/model/config.json",
    output:
        "training/mini-{family}/model/model_index.json",
    log:
        "training/logs/mini-{family}.log",
    wildcard_constraints:
        family="unet|dit",
    threads: 1
    params:
        data=study.config["fashion_mnist"],
    shell:
        "python -m bigain train {wildcards.family} --data {params.data:q} --autoencoder {input}"
        " --work training/mini-{wildcards.family} --output {output} --threads {threads} > {log} 2>&1"


rule train_flow:
    input:
        unet="training/mini-unet/model/model_index.json",
        dit="training/mini-dit/model/model_index.json",
    output:
        "training/mini-mmdit/model/model_index.json",
    log:
        "training/logs/mini-mmdit.log",
    threads: 1
    params:
        data=study.config["fashion_mnist"],
    shell:
        "python -m bigain train mmdit --data {params.data:q} --unet {input.unet} --dit {input.dit}"
        " --work training/mini-mmdit --output {output} --threads {threads} > {log} 2>&1"


rule train_features:
    output:
        "training/fashion-net.safetensors",
    log:
        "training/logs/fashion-net.log",
    threads: 1
    params:
        data=study.config["fashion_mnist"],
    shell:
        "python -m bigain train features --data {params.data:q} --work training/fashion-net --output {output}"
        " --threads {threads} > {log} 2>&1"
