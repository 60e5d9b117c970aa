# Tables, comparisons with the paper, and schedules. A table is an entry of tables.yaml, rendered by a template.

TABLES = table_names(tables_file(study.config), study.cells, study.config["backbones"])
PROTOCOL = ["table9", "table10", "table13"]
PROBED = study.probed()
# Comparisons with the paper; one of its numbers with the study's only if it prints any of the study's cells.
VERDICTS = ["claims", *(["beside"] if has_printed_values(study.cells) else []), "audit"]
EVERY_TABLE = [
    "table1",
    *TABLES,
    *(["theorem1"] if PROBED else []),
    *PROTOCOL,
    "table11",
    *VERDICTS,
]
MEASURED = expand(
    f"{study.results}/efficiency/{{backbone}}.csv", backbone=study.backbones()
)


localrules:
    table,
    table1,
    table11,
    protocol_tables,
    theorem,
    claims,
    beside,
    audit,
    schedules,


rule table:
    input:
        results=f"{study.results}/results.parquet",
        measured=MEASURED,
        tables=tables_file(study.config),
        templates=template_files("table"),
    output:
        tex=f"{study.reports}/{{table}}.tex",
        csv=f"{study.reports}/{{table}}.csv",
        html=report(
            f"{study.reports}/{{table}}.html",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    log:
        f"{study.results}/logs/report/{{table}}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        spec=study.report_spec(),
    message:
        "{wildcards.table}"
    shell:
        "python -m bigain table {input.measured} --results {input.results} --tables {input.tables} --name {wildcards.table}"
        " --spec {params.spec:q} --tex {output.tex} --csv {output.csv} --html {output.html} --log {log}"


rule table1:
    input:
        results=f"{study.results}/results.parquet",
        measured=MEASURED,
        templates=template_files("overview"),
    output:
        tex=f"{study.reports}/table1.tex",
        csv=f"{study.reports}/table1.csv",
        html=report(
            f"{study.reports}/table1.html",
            caption="../report/table1.rst",
            category="Tables",
            labels={"table": "table1"},
        ),
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
        measured=MEASURED,
        templates=template_files("efficiency"),
    output:
        tex=f"{study.reports}/table11.tex",
        csv=f"{study.reports}/table11.csv",
        html=report(
            f"{study.reports}/table11.html",
            caption="../report/table11.rst",
            category="Tables",
            labels={"table": "table11"},
        ),
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


rule protocol_tables:
    input:
        templates=template_files("listing"),
    output:
        expand(
            f"{study.reports}/{{table}}.{{form}}", table=PROTOCOL, form=["tex", "csv"]
        ),
        report(
            expand(f"{study.reports}/{{table}}.html", table=PROTOCOL),
            caption="../report/protocol.rst",
            category="Tables",
            labels={"table": "Tables 9, 10 and 13"},
        ),
    log:
        f"{study.results}/logs/report/protocol.log",
    conda:
        "../../envs/environment.yaml"
    params:
        spec=study.report_spec(),
        folder=subpath(output[0], parent=True),
    message:
        "data sets, stages and scores"
    shell:
        "python -m bigain protocol-tables --spec {params.spec:q} --folder {params.folder} --log {log}"


rule theorem:
    input:
        spectra=[f"{study.results}/probes/{b}/{d}/spectrum.parquet" for b, d in PROBED],
        metrics=study.score_files(),
        templates=template_files("theorem1"),
    output:
        tex=f"{study.reports}/theorem1.tex",
        csv=f"{study.reports}/theorem1.csv",
        html=report(
            f"{study.reports}/theorem1.html",
            caption="../report/theorem.rst",
            category="Tables",
            labels={"table": "Theorem 1"},
        ),
        pdf=f"{study.reports}/spectrum.pdf",
        png=report(
            f"{study.reports}/spectrum.png",
            caption="../report/theorem.rst",
            category="Figures",
            labels={"figure": "Theorem 1"},
        ),
    log:
        f"{study.results}/logs/report/theorem.log",
    conda:
        "../../envs/environment.yaml"
    params:
        spec=study.report_spec(),
    message:
        "Theorem 1, measured"
    shell:
        "python -m bigain theorem {input.spectra} {input.metrics} --spec {params.spec:q} --tex {output.tex}"
        " --csv {output.csv} --html {output.html} --pdf {output.pdf} --png {output.png} --log {log}"


rule claims:
    input:
        metrics=study.score_files(),
        claims=claims_file(study.config),
        values=printed_files("values"),
        templates=template_files("claims"),
    output:
        tex=f"{study.reports}/claims.tex",
        csv=f"{study.reports}/claims.csv",
        html=report(
            f"{study.reports}/claims.html",
            caption="../report/claims.rst",
            category="The paper",
            labels={"table": "claims"},
        ),
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
        measured=MEASURED,
        values=printed_files("values"),
        templates=template_files("beside"),
    output:
        tex=f"{study.reports}/beside.tex",
        csv=f"{study.reports}/beside.csv",
        html=report(
            f"{study.reports}/beside.html",
            caption="../report/beside.rst",
            category="The paper",
            labels={"table": "beside"},
        ),
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
        numbers=printed_files("values", "deltas"),
        templates=template_files("audit"),
    output:
        tex=f"{study.reports}/audit.tex",
        csv=f"{study.reports}/audit.csv",
        html=report(
            f"{study.reports}/audit.html",
            caption="../report/audit.rst",
            category="The paper",
            labels={"table": "audit"},
        ),
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
