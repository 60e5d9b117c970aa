# The whole report: a LaTeX document and a page.

# A PDF, if LaTeX is installed.
DOCUMENT = "report.pdf" if shutil.which("pdflatex") else "report.tex"
RENDERED = rendered_files(study, DOCUMENT)


localrules:
    report,
    report_pdf,
    page,
    manifest,


rule report:
    input:
        expand(
            f"{study.reports}/{{table}}.tex",
            table=EVERY_TABLE,
        ),
    output:
        f"{study.reports}/report.tex",
    log:
        f"{study.logs}/report/report.log",
    params:
        spec=lambda w: study.report_spec(),
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
        f"{study.logs}/report/report-pdf.log",
    params:
        spec=lambda w: study.report_spec(),
    message:
        "the report: {output}"
    shell:
        "python -m bigain compile {input.document} --output {output} --log {log}"


rule page:
    input:
        results=f"{study.results}/results.parquet",
        tables=tables_file(study.config),
        document=f"{study.reports}/{DOCUMENT}",
        template=template_files("index", ("html",)),
        fragments=expand(
            f"{study.reports}/{{table}}.html",
            table=EVERY_TABLE,
        ),
        figures=expand(f"{study.reports}/{{figure}}.png", figure=FIGURES),
        samples=[f"{study.reports}/samples-{b}-{d}.png" for b, d in SHEETS],
    output:
        report(
            f"{study.reports}/index.html",
            caption="../report/page.rst",
            category="Everything",
            labels={"page": "index.html"},
        ),
    log:
        f"{study.logs}/report/page.log",
    params:
        spec=lambda w: study.report_spec(),
    message:
        "the page: {output}"
    shell:
        "python -m bigain page {input.samples} --results {input.results} --tables {input.tables}"
        " --document {input.document} --spec {params.spec:q} --output {output} --log {log}"


rule manifest:
    input:
        expand(f"{study.reports}/{{file}}", file=RENDERED),
    output:
        f"{study.reports}/manifest.json",
    log:
        f"{study.logs}/report/manifest.log",
    params:
        spec=lambda w: study.report_spec(),
    message:
        "checksums of everything that was rendered"
    shell:
        "python -m bigain manifest {input} --spec {params.spec:q} --output {output} --log {log}"
