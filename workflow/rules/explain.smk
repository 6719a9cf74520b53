# Why: code length, hard tokens and tilting steps, on the study's own runs and on an exactly solvable model.


rule read_prefixes:
    input:
        base="<study>/models/{model}/card.json",
        model=ancient("<study>/models/{model}/model"),
        card="<study>/data/{domain}/test.json",
        examples=ancient("<study>/data/{domain}/test.jsonl"),
    output:
        "<study>/models/{model}/prefixes/{domain}.parquet",
    log:
        "<study>/logs/read_prefixes/{model}/{domain}.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        precision=STUDY.evaluation.precision,
        code=code_digest(["tradeoff.theory.prefixes"]),
    shell:
        "python -m tradeoff.theory.prefixes $(dirname {input.base}) {input.examples} {output} "
        "--precision {params.precision} 2>&1 | tee {log}"


rule explain:
    input:
        rules.tabulate.input,
        scores="<study>/tables/scores.parquet",
        prefixes=expand("<study>/models/{model}/prefixes/{domain}.parquet", model=STUDY.models, domain=STUDY.domains),
    output:
        **{name: f"<study>/tables/{name}.parquet" for name in EXPLANATIONS},
    log:
        "<study>/logs/explain.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        entries=entries(),
        benchmarks=benchmarks(),
        scored=scored(),
        methods=method_specs(),
        code=code_digest(["tradeoff.tables.collect", *(f"tradeoff.theory.{module}" for module in EXPLANATION_MODULES)]),
    script:
        "../scripts/explain.py"
