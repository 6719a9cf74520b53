# One job a model, on all its benchmarks: starting and loading cost more than a small benchmark. What a benchmark's
# outcome depends on is the key of a store, so that one more benchmark costs that benchmark alone.


rule sample_base_text:
    input:
        base="<study>/models/{model}/card.json",
        model=ancient("<study>/models/{model}/model"),
    output:
        "<study>/models/{model}/base_text.parquet",
    log:
        "<study>/logs/sample_base_text/{model}.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        texts=STUDY.benchmark_spec(BASE_TEXT)["items"] if BASE_TEXT in STUDY.general else 0,
        precision=STUDY.evaluation.precision,
        seed=STUDY.data.seed,
        code=code_digest(["tradeoff.evaluation.base_text"]),
    shell:
        "python -m tradeoff.evaluation.base_text $(dirname {input.base}) {output} --items {params.texts} "
        "--precision {params.precision} --seed {params.seed} 2>&1 | tee {log}"


rule evaluate_base:
    input:
        base="<study>/models/{model}/card.json",
        model=ancient("<study>/models/{model}/model"),
        texts=base_texts,
        data=tested_on(),
    output:
        f"<study>/runs/{{model}}/{BASE}/samples.parquet",
    log:
        "<study>/logs/evaluate_base/{model}.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        root=lambda wildcards, input: Path(input.base).parents[2],
        settings=canonical_json(STUDY.evaluation_spec()),
        benchmarks=evaluated(),
    shell:
        "python -m tradeoff.evaluation.evaluate --base $(dirname {input.base}) --root {params.root} "
        "--settings {params.settings:q} --benchmarks {params.benchmarks:q} --label {wildcards.model} "
        "--output {output} 2>&1 | tee {log}"


rule evaluate:
    input:
        base="<study>/models/{model}/card.json",
        model=ancient("<study>/models/{model}/model"),
        texts=base_texts,
        data=lambda wildcards: tested_on(wildcards.domain),
        run=f"<study>/runs/{RUN}{{at}}/card.json",
        deltas=lambda wildcards: deltas_of(wildcards, wildcards.at),
    output:
        f"<study>/runs/{RUN}{{at}}/samples.parquet",
    log:
        f"<study>/logs/evaluate/{RUN}{{at}}.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        root=lambda wildcards, input: Path(input.base).parents[2],
        settings=canonical_json(STUDY.evaluation_spec()),
        benchmarks=lambda wildcards: evaluated(wildcards.domain),
    shell:
        "python -m tradeoff.evaluation.evaluate --base $(dirname {input.base}) --run $(dirname {input.run}) "
        "--root {params.root} --settings {params.settings:q} --benchmarks {params.benchmarks:q} "
        "--label '{wildcards.method} {wildcards.rate} {wildcards.seed}{wildcards.at}' --output {output} "
        "2>&1 | tee {log}"
