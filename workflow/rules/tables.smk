# All runs' items to three tables.


rule tabulate:
    input:
        bases=expand(f"<study>/runs/{{model}}/{BASE}/samples.parquet", model=STUDY.models),
        samples=[f"<study>/runs/{run.path}/samples.parquet" for run in STUDY.runs()],
        cards=[f"<study>/runs/{run.path}/card.json" for run in STUDY.runs()],
    output:
        samples="<study>/tables/samples.parquet",
        scores="<study>/tables/scores.parquet",
        tradeoff="<study>/tables/tradeoff.parquet",
    log:
        "<study>/logs/tabulate.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        entries=entries(),
        benchmarks=benchmarks(),
        scored=canonical_json({domain: STUDY.scored(domain) for domain in STUDY.domains}),
        code=code_digest(["tradeoff.tables.collect", "tradeoff.tables.tradeoff"]),
    script:
        "../scripts/tabulate.py"
