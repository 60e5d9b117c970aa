# Tables. `bigain.reporting.commands` maps each table to its command and input files.

TABLES = cache(partial(table_commands, study))  # called only when tables are rendered
EVERY_TABLE = tables_in_order(study)
PROBED = study.probed()
RENDERED_ALONE = [
    name
    for name in EVERY_TABLE
    if name not in (*PROTOCOL, "frequency", "theorem1", "timesteps")
]


localrules:
    table,
    protocol_tables,
    frequency,
    theorem,
    informative_timesteps,
    schedules,


rule table:
    input:
        files=lambda w: TABLES()[w.table].files,
        others=lambda w: TABLES()[w.table].inputs,
    output:
        tex=f"{study.reports}/{{table}}.tex",
        csv=f"{study.reports}/{{table}}.csv",
        html=report(
            f"{study.reports}/{{table}}.html",
            caption="../report/captioned.rst",
            category=lambda w: TABLES()[w.table].category,
            labels={"table": "{table}"},
        ),
    log:
        f"{study.logs}/report/{{table}}.log",
    wildcard_constraints:
        table="|".join(RENDERED_ALONE),
    params:
        command=lambda w: TABLES()[w.table].command,
        options=lambda w: TABLES()[w.table].options,
        caption=lambda w: TABLES()[w.table].caption,
        spec=lambda w: study.report_spec(),
    message:
        "{wildcards.table}"
    shell:
        "python -m bigain {params.command} {input.files} {params.options:q}"
        " --tex {output.tex} --csv {output.csv} --html {output.html} --log {log}"


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
        f"{study.logs}/report/protocol.log",
    params:
        spec=lambda w: study.report_spec(),
        folder=subpath(output[0], parent=True),
    message:
        "data sets, stages and scores"
    shell:
        "python -m bigain protocol-tables --spec {params.spec:q} --folder {params.folder} --log {log}"


rule frequency:
    input:
        margins=[
            f"{study.results}/probes/{b}/{d}/margins.parquet"
            for b, d in study.with_margins()
        ],
        results=f"{study.results}/results.parquet",
        claims=claims_file(study.config),
        templates=template_files("frequency"),
    output:
        tex=f"{study.reports}/frequency.tex",
        csv=f"{study.reports}/frequency.csv",
        html=report(
            f"{study.reports}/frequency.html",
            caption="../report/frequency.rst",
            category="Tables",
            labels={"table": "Is it frequency?"},
        ),
        pdf=f"{study.reports}/frequency.pdf",
        png=report(
            f"{study.reports}/frequency.png",
            caption="../report/frequency.rst",
            category="Figures",
            labels={"figure": "Is it frequency?"},
        ),
    log:
        f"{study.logs}/report/frequency.log",
    params:
        spec=lambda w: study.report_spec(),
    message:
        "is it frequency?"
    shell:
        "python -m bigain frequency {input.margins} --results {input.results} --data {input.claims:q}"
        " --spec {params.spec:q} --tex {output.tex} --csv {output.csv} --html {output.html} --pdf {output.pdf} --png {output.png} --log {log}"


rule theorem:
    input:
        spectra=[f"{study.results}/probes/{b}/{d}/spectrum.parquet" for b, d in PROBED],
        results=f"{study.results}/results.parquet",
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
        f"{study.logs}/report/theorem.log",
    params:
        spec=lambda w: study.report_spec(),
    message:
        "Theorem 1, measured"
    shell:
        "python -m bigain theorem {input.spectra} --results {input.results} --spec {params.spec:q} --tex {output.tex}"
        " --csv {output.csv} --html {output.html} --pdf {output.pdf} --png {output.png} --log {log}"


rule informative_timesteps:
    input:
        files=study.timestep_files() or [],
        templates=template_files("timesteps"),
    output:
        tex=f"{study.reports}/timesteps.tex",
        csv=f"{study.reports}/timesteps.csv",
        html=report(
            f"{study.reports}/timesteps.html",
            caption="../report/timesteps.rst",
            category="Tables",
            labels={"table": "Where in t is the class?"},
        ),
        pdf=f"{study.reports}/timesteps.pdf",
        png=report(
            f"{study.reports}/timesteps.png",
            caption="../report/timesteps.rst",
            category="Figures",
            labels={"figure": "Where in t is the class?"},
        ),
    log:
        f"{study.logs}/report/timesteps.log",
    params:
        spec=lambda w: study.report_spec(),
    message:
        "where in t is the class?"
    shell:
        "python -m bigain informative-timesteps {input.files} --spec {params.spec:q} --tex {output.tex}"
        " --csv {output.csv} --html {output.html} --pdf {output.pdf} --png {output.png} --log {log}"


rule schedules:
    input:
        f"{study.results}/results.parquet",
    output:
        f"{study.reports}/schedules.csv",
    log:
        f"{study.logs}/report/schedules.log",
    params:
        spec=lambda w: study.report_spec(),
    message:
        "what was compressed: {output}"
    shell:
        "python -m bigain schedules --results {input} --spec {params.spec:q} --output {output} --log {log}"
