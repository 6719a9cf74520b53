# What a person looks at.


rule plot:
    input:
        **{name: f"<study>/tables/{name}.parquet" for name in [*TABLES, *EXPLANATIONS]},
        cards=[f"<study>/runs/{run.path}/card.json" for run in STUDY.runs()],
    output:
        page="<study>/report.html",
        svg=[
            report(f"<study>/figures/{name}.svg", caption=f"../report/{name}.rst", category="Figures")
            for name in FIGURES
        ]
        + [report(f"<study>/figures/{name}.svg", caption="../report/why.rst", category="Why") for name in WHY],
        png=[f"<study>/figures/{name}.png" for name in [*FIGURES, *WHY]],
    log:
        "<study>/logs/plot.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        study=canonical_json(STUDY.model_dump(mode="json")),
        settings=in_force(),
        tables=TABLES,
        explanations=EXPLANATIONS,
        benchmarks=benchmarks(),
        scored=scored(),
        templates=templates(),
        code=code_digest(["tradeoff.report.sections", "tradeoff.theory.figures"]),
    script:
        "../scripts/plot.py"


rule summarise:
    input:
        tradeoff="<study>/tables/tradeoff.parquet",
        scores="<study>/tables/scores.parquet",
        recommendation="<study>/tables/recommendation.parquet",
        leakage="<study>/tables/leakage.parquet",
    output:
        "<study>/summary.txt",
    log:
        "<study>/logs/summarise.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        benchmarks=benchmarks(),
        code=code_digest(["tradeoff.report.terminal"]),
    script:
        "../scripts/summarise.py"
