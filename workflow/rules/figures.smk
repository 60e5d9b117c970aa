# Figures and sample sheets. `bigain.reporting.commands` maps each figure to its command and input files.

FIGURES = [
    figure.name
    for figure in figures_of(
        bool(PROBED), study.timestep_files() is not None, is_ranked(study)
    )
]
DRAWN = cache(partial(figure_commands, study))
SHEETS = study.sheets()


localrules:
    figure,
    token_figures,
    samples,


rule figure:
    input:
        files=lambda w: DRAWN()[w.figure].files,
        others=lambda w: DRAWN()[w.figure].inputs,
    output:
        pdf=f"{study.reports}/{{figure}}.pdf",
        csv=f"{study.reports}/{{figure}}.csv",
        png=report(
            f"{study.reports}/{{figure}}.png",
            caption="../report/captioned.rst",
            category="Figures",
            labels=lambda w: {"figure": DRAWN()[w.figure].title},
        ),
    log:
        f"{study.logs}/report/{{figure}}.log",
    wildcard_constraints:
        figure="figure1|tradeoff|classes|forest",
    params:
        command=lambda w: DRAWN()[w.figure].command,
        options=lambda w: DRAWN()[w.figure].options,
        caption=lambda w: DRAWN()[w.figure].caption,
        spec=lambda w: study.report_spec(),
    message:
        "{wildcards.figure}"
    shell:
        "python -m bigain {params.command} {input.files} {params.options:q}"
        " --pdf {output.pdf} --png {output.png} --csv {output.csv} --log {log}"


rule token_figures:
    input:
        maps=[
            f"{study.results}/probes/{b}/{d}/tokens.safetensors"
            for b, d in study.shown()
        ],
    output:
        saliency_pdf=f"{study.reports}/figure2.pdf",
        saliency_csv=f"{study.reports}/figure2.csv",
        saliency_png=report(
            f"{study.reports}/figure2.png",
            caption="../report/figure2.rst",
            category="Figures",
            labels={"figure": "Figure 2"},
        ),
        merged_pdf=f"{study.reports}/figure3.pdf",
        merged_csv=f"{study.reports}/figure3.csv",
        merged_png=report(
            f"{study.reports}/figure3.png",
            caption="../report/figure3.rst",
            category="Figures",
            labels={"figure": "Figure 3"},
        ),
    log:
        f"{study.logs}/report/token-figures.log",
    params:
        spec=lambda w: study.report_spec(),
    message:
        "figures 2 and 3"
    shell:
        "python -m bigain token-figures {input.maps} --spec {params.spec:q}"
        " --saliency-pdf {output.saliency_pdf}"
        " --saliency-png {output.saliency_png} --saliency-csv {output.saliency_csv}"
        " --merged-pdf {output.merged_pdf} --merged-png {output.merged_png} --merged-csv {output.merged_csv}"
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
        f"{study.logs}/report/samples-{{backbone}}-{{dataset}}.log",
    params:
        spec=lambda w: study.report_spec(),
    message:
        "sample sheet of {wildcards.backbone} on {wildcards.dataset}"
    shell:
        "python -m bigain sheet {input} --spec {params.spec:q} --output {output} --log {log}"
