# All runs' items to tables.


rule tabulate:
    input:
        bases=expand(f"<study>/runs/{{model}}/{BASE}/samples.parquet", model=STUDY.models),
        samples=[f"<study>/runs/{run.path}{at}/samples.parquet" for at in ["", *SNAPSHOTS] for run in STUDY.runs()],
        cards=[f"<study>/runs/{run.path}{at}/card.json" for at in ["", *SNAPSHOTS] for run in STUDY.runs()],
        models=expand("<study>/models/{model}/card.json", model=STUDY.models),
    output:
        **{name: f"<study>/tables/{name}.parquet" for name in TABLES},
    log:
        "<study>/logs/tabulate.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        entries=entries(),
        benchmarks=benchmarks(),
        scored=scored(),
        plain=canonical_json({domain: STUDY.bounded(domain) for domain in STUDY.domains}),
        sources=canonical_json({name: model.source for name, model in STUDY.models.items()}),
        kinds=canonical_json({name: domain.kind for name, domain in STUDY.domains.items()}),
        methods=method_specs(),
        verdicts=canonical_json(STUDY.verdicts.model_dump()),
        allow_mixed=" ".join(STUDY.allow_mixed),
        code=code_digest(f"tradeoff.tables.{module}" for module in TABLE_MODULES),
    script:
        "../scripts/tabulate.py"


# All models are asked the same items, so those of the first base stand for all.
rule find_leakage:
    input:
        samples=f"<study>/runs/{next(iter(STUDY.models))}/{BASE}/samples.parquet",
        cards=expand("<study>/data/{domain}/train.json", domain=STUDY.domains),
        examples=[ancient(f"<study>/data/{domain}/train.jsonl") for domain in STUDY.domains],
    output:
        "<study>/tables/leakage.parquet",
    log:
        "<study>/logs/find_leakage.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        domains=list(STUDY.domains),
        code=code_digest(["tradeoff.tables.leakage"]),
    script:
        "../scripts/leakage.py"
