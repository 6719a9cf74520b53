# All runs' items to three tables.

RUNS = list(STUDY.runs())


def entries():
    """Every base and run of the study: where it is, what was asked for, what must be there."""
    root = f"results/{STUDY.study}"
    bases = [
        {
            "folder": f"{root}/runs/{model}/{BASE}",
            "model": model,
            "domain": None,
            "method": BASE,
            "rate": None,
            "seed": None,
            "spec": None,
            "benchmarks": [*STUDY.domains, *STUDY.general],
            "base_folder": f"{root}/models/{model}",
        }
        for model in STUDY.models
    ]
    runs = [
        {
            "folder": f"{root}/runs/{run.path}",
            "model": run.model,
            "domain": run.domain,
            "method": run.method,
            "rate": run.rate,
            "seed": run.seed,
            "spec": STUDY.run_spec(run),
            "benchmarks": [run.domain, *STUDY.general],
            "base_folder": f"{root}/models/{run.model}",
        }
        for run in RUNS
    ]
    return canonical_json(bases + runs)


rule tabulate:
    input:
        bases=expand(f"<study>/runs/{{model}}/{BASE}/samples.parquet", model=STUDY.models),
        samples=[f"<study>/runs/{run.path}/samples.parquet" for run in RUNS],
        cards=[f"<study>/runs/{run.path}/card.json" for run in RUNS],
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
        settings=canonical_json(STUDY.evaluation_spec()),
        general=STUDY.general,
        code=code_digest(["tradeoff.tables.collect", "tradeoff.tables.tradeoff"]),
    script:
        "../scripts/tabulate.py"
