# Tables, figures, sample sheets and the page. A table is an entry in the tables' data plus a template.

TABLES = table_names(study.config["tables"], study.cells, study.config["backbones"])
SHEETS = study.sheets()
# What the paper says against what was found; its numbers stand beside a study's only where it prints any of its cells.
# A PDF where there is a LaTeX.
DOCUMENT = "report.pdf" if shutil.which("pdflatex") else "report.tex"
FIGURES = ["figure1", "tradeoff", "classes"]
VERDICTS = ["claims", *(["beside"] if has_published(study.cells) else []), "audit"]


rule table:
    input:
        results=f"{study.results}/results.parquet",
        tables=study.config["tables"],
        templates=["reports/templates/table.tex.j2", "reports/templates/table.html.j2"],
    output:
        tex=f"{study.reports}/{{table}}.tex",
        csv=f"{study.reports}/{{table}}.csv",
        html=f"{study.reports}/{{table}}.html",
    log:
        f"{study.results}/logs/report/{{table}}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        spec=study.report_spec(),
    message:
        "{wildcards.table}"
    shell:
        "python -m bigain table --results {input.results} --tables {input.tables} --name {wildcards.table}"
        " --spec {params.spec:q} --tex {output.tex} --csv {output.csv} --html {output.html} --log {log}"


rule table1:
    input:
        results=f"{study.results}/results.parquet",
        measured=expand(
            f"{study.results}/efficiency/{{backbone}}.csv", backbone=study.backbones()
        ),
        templates=[
            "reports/templates/overview.tex.j2",
            "reports/templates/overview.html.j2",
        ],
    output:
        tex=f"{study.reports}/table1.tex",
        csv=f"{study.reports}/table1.csv",
        html=f"{study.reports}/table1.html",
    log:
        f"{study.results}/logs/report/table1.log",
    conda:
        "../../envs/environment.yaml"
    params:
        spec=study.report_spec(),
    message:
        "table1"
    shell:
        "python -m bigain overview {input.measured} --results {input.results} --spec {params.spec:q}"
        " --tex {output.tex} --csv {output.csv} --html {output.html} --log {log}"


rule table11:
    input:
        measured=expand(
            f"{study.results}/efficiency/{{backbone}}.csv", backbone=study.backbones()
        ),
        templates=[
            "reports/templates/efficiency.tex.j2",
            "reports/templates/efficiency.html.j2",
        ],
    output:
        tex=f"{study.reports}/table11.tex",
        csv=f"{study.reports}/table11.csv",
        html=f"{study.reports}/table11.html",
    log:
        f"{study.results}/logs/report/table11.log",
    conda:
        "../../envs/environment.yaml"
    params:
        spec=study.report_spec(),
    message:
        "table11"
    shell:
        "python -m bigain efficiency-table {input.measured} --spec {params.spec:q} --tex {output.tex}"
        " --csv {output.csv} --html {output.html} --log {log}"


rule claims:
    input:
        metrics=study.score_files(),
        claims=study.config["claims"],
        values="reports/published/values.csv",
        templates=[
            "reports/templates/claims.tex.j2",
            "reports/templates/claims.html.j2",
        ],
    output:
        tex=f"{study.reports}/claims.tex",
        csv=f"{study.reports}/claims.csv",
        html=f"{study.reports}/claims.html",
    log:
        f"{study.results}/logs/report/claims.log",
    conda:
        "../../envs/environment.yaml"
    params:
        spec=study.report_spec(),
    message:
        "the paper's claims, judged"
    shell:
        "python -m bigain claims {input.metrics} --data {input.claims} --spec {params.spec:q}"
        " --tex {output.tex} --csv {output.csv} --html {output.html} --log {log}"


rule beside:
    input:
        results=f"{study.results}/results.parquet",
        measured=expand(
            f"{study.results}/efficiency/{{backbone}}.csv", backbone=study.backbones()
        ),
        values="reports/published/values.csv",
        templates=[
            "reports/templates/beside.tex.j2",
            "reports/templates/beside.html.j2",
        ],
    output:
        tex=f"{study.reports}/beside.tex",
        csv=f"{study.reports}/beside.csv",
        html=f"{study.reports}/beside.html",
    log:
        f"{study.results}/logs/report/beside.log",
    conda:
        "../../envs/environment.yaml"
    params:
        spec=study.report_spec(),
    message:
        "the paper's numbers beside the study's"
    shell:
        "python -m bigain beside {input.measured} --results {input.results} --spec {params.spec:q}"
        " --tex {output.tex} --csv {output.csv} --html {output.html} --log {log}"


rule audit:
    input:
        numbers=["reports/published/values.csv", "reports/published/deltas.csv"],
        templates=["reports/templates/audit.tex.j2", "reports/templates/audit.html.j2"],
    output:
        tex=f"{study.reports}/audit.tex",
        csv=f"{study.reports}/audit.csv",
        html=f"{study.reports}/audit.html",
    log:
        f"{study.results}/logs/report/audit.log",
    conda:
        "../../envs/environment.yaml"
    params:
        spec=study.report_spec(),
    message:
        "the paper against itself"
    shell:
        "python -m bigain audit --tex {output.tex} --csv {output.csv} --html {output.html} --log {log}"


rule schedules:
    input:
        study.score_files(),
    output:
        f"{study.reports}/schedules.csv",
    log:
        f"{study.results}/logs/report/schedules.log",
    conda:
        "../../envs/environment.yaml"
    message:
        "what was compressed: {output}"
    shell:
        "python -m bigain schedules {input} --output {output} --log {log}"


rule figure1:
    input:
        results=f"{study.results}/results.parquet",
    output:
        pdf=f"{study.reports}/figure1.pdf",
        png=f"{study.reports}/figure1.png",
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
        measured=expand(
            f"{study.results}/efficiency/{{backbone}}.csv", backbone=study.backbones()
        ),
    output:
        pdf=f"{study.reports}/tradeoff.pdf",
        png=f"{study.reports}/tradeoff.png",
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
        png=f"{study.reports}/classes.png",
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


rule samples:
    input:
        lambda w: SHEETS[w.backbone, w.dataset],
    output:
        f"{study.reports}/samples-{{backbone}}-{{dataset}}.png",
    log:
        f"{study.results}/logs/report/samples-{{backbone}}-{{dataset}}.log",
    conda:
        "../../envs/environment.yaml"
    message:
        "sample sheet of {wildcards.backbone} on {wildcards.dataset}"
    shell:
        "python -m bigain sheet {input} --output {output} --log {log}"


rule report:
    input:
        expand(
            f"{study.reports}/{{table}}.tex",
            table=["table1", *TABLES, "table11", *VERDICTS],
        ),
    output:
        f"{study.reports}/report.tex",
    log:
        f"{study.results}/logs/report/report.log",
    conda:
        "../../envs/environment.yaml"
    params:
        spec=study.report_spec(),
    message:
        "the report as a LaTeX document"
    shell:
        "python -m bigain report {input} --spec {params.spec:q} --output {output} --log {log}"


rule report_pdf:
    input:
        document=f"{study.reports}/report.tex",
        figures=expand(f"{study.reports}/{{figure}}.pdf", figure=FIGURES),
    output:
        f"{study.reports}/report.pdf",
    log:
        f"{study.results}/logs/report/report-pdf.log",
    conda:
        "../../envs/environment.yaml"
    params:
        spec=study.report_spec(),
    message:
        "the report: {output}"
    shell:
        "python -m bigain compile {input.document} --output {output} --log {log}"


rule page:
    input:
        metrics=study.score_files(),
        results=f"{study.results}/results.parquet",
        tables=study.config["tables"],
        template="reports/templates/index.html.j2",
        fragments=expand(
            f"{study.reports}/{{table}}.html",
            table=["table1", *TABLES, "table11", *VERDICTS],
        ),
        figures=expand(f"{study.reports}/{{figure}}.png", figure=FIGURES),
        samples=[f"{study.reports}/samples-{b}-{d}.png" for b, d in SHEETS],
    output:
        f"{study.reports}/index.html",
    log:
        f"{study.results}/logs/report/page.log",
    conda:
        "../../envs/environment.yaml"
    params:
        spec=study.report_spec(),
    message:
        "the page: {output}"
    shell:
        "python -m bigain page {input.metrics} --results {input.results} --tables {input.tables}"
        " --spec {params.spec:q} --output {output} --log {log}"
