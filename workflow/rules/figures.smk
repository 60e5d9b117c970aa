# Figures and sample sheets.

FIGURES = [figure.name for figure in figures_of(bool(PROBED))]
SHEETS = study.sheets()


localrules:
    figure1,
    tradeoff,
    class_changes,
    token_figures,
    samples,


rule figure1:
    input:
        results=f"{study.results}/results.parquet",
    output:
        pdf=f"{study.reports}/figure1.pdf",
        png=report(
            f"{study.reports}/figure1.png",
            caption="../report/figure1.rst",
            category="Figures",
            labels={"figure": "Figure 1"},
        ),
    log:
        f"{study.results}/logs/report/figure1.log",
    conda:
        "../../envs/environment.yaml"
    message:
        "figure 1"
    shell:
        "python -m bigain figure --results {input.results} --pdf {output.pdf} --png {output.png} --log {log}"


rule tradeoff:
    input:
        results=f"{study.results}/results.parquet",
        measured=MEASURED,
    output:
        pdf=f"{study.reports}/tradeoff.pdf",
        png=report(
            f"{study.reports}/tradeoff.png",
            caption="../report/tradeoff.rst",
            category="Figures",
            labels={"figure": "Trade-off"},
        ),
    log:
        f"{study.results}/logs/report/tradeoff.log",
    conda:
        "../../envs/environment.yaml"
    params:
        spec=study.report_spec(),
    message:
        "recognition against operations and generation"
    shell:
        "python -m bigain tradeoff {input.measured} --results {input.results} --pdf {output.pdf} --png {output.png}"
        " --log {log}"


rule class_changes:
    input:
        study.score_files(),
    output:
        pdf=f"{study.reports}/classes.pdf",
        png=report(
            f"{study.reports}/classes.png",
            caption="../report/classes.rst",
            category="Figures",
            labels={"figure": "Classes"},
        ),
    log:
        f"{study.results}/logs/report/classes.log",
    conda:
        "../../envs/environment.yaml"
    params:
        spec=study.report_spec(),
    message:
        "the change of accuracy class by class"
    shell:
        "python -m bigain class-changes {input} --pdf {output.pdf} --png {output.png} --log {log}"


rule token_figures:
    input:
        maps=[
            f"{study.results}/probes/{b}/{d}/tokens.safetensors"
            for b, d in study.shown()
        ],
    output:
        saliency_pdf=f"{study.reports}/figure2.pdf",
        saliency_png=report(
            f"{study.reports}/figure2.png",
            caption="../report/figure2.rst",
            category="Figures",
            labels={"figure": "Figure 2"},
        ),
        merged_pdf=f"{study.reports}/figure3.pdf",
        merged_png=report(
            f"{study.reports}/figure3.png",
            caption="../report/figure3.rst",
            category="Figures",
            labels={"figure": "Figure 3"},
        ),
    log:
        f"{study.results}/logs/report/token-figures.log",
    conda:
        "../../envs/environment.yaml"
    message:
        "figures 2 and 3"
    shell:
        "python -m bigain token-figures {input.maps} --saliency-pdf {output.saliency_pdf}"
        " --saliency-png {output.saliency_png} --merged-pdf {output.merged_pdf} --merged-png {output.merged_png}"
        " --log {log}"


rule samples:
    input:
        lambda w: SHEETS[w.backbone, w.dataset],
    output:
        report(
            f"{study.reports}/samples-{{backbone}}-{{dataset}}.png",
            caption="../report/samples.rst",
            category="Samples",
            labels={"backbone": "{backbone}", "data set": "{dataset}"},
        ),
    log:
        f"{study.results}/logs/report/samples-{{backbone}}-{{dataset}}.log",
    conda:
        "../../envs/environment.yaml"
    message:
        "sample sheet of {wildcards.backbone} on {wildcards.dataset}"
    shell:
        "python -m bigain sheet {input} --output {output} --log {log}"
