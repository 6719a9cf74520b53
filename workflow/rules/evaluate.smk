# One job evaluates all methods at one learning rate and seed: it starts once and loads the base once. What a benchmark's
# outcome depends on is the key of a store, so that one more run or benchmark costs only that, and a killed job goes on.


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
        "python -m tradeoff.evaluation.evaluate {output} --base $(dirname {input.base}) --root {params.root} "
        "--settings {params.settings:q} --benchmarks {params.benchmarks:q} 2>&1 | tee {log}"


# Where methods have seeds of their own, there is a rule for each set of methods that share a seed.
for number, (runs, seeds) in enumerate(evaluated_together().items(), 1):

    rule:
        name:
            "evaluate" if number == 1 else f"evaluate_{number}"
        input:
            base="<study>/models/{model}/card.json",
            model=ancient("<study>/models/{model}/model"),
            texts=base_texts,
            data=lambda wildcards: tested_on(wildcards.domain),
            runs=[f"<study>/runs/{run}/card.json" for run in runs],
            deltas=lambda wildcards: deltas_of(wildcards, STUDY.evaluated_together()[int(wildcards.seed)]),
        output:
            [f"<study>/runs/{run}/samples.parquet" for run in runs],
        log:
            "<study>/logs/evaluate/{model}/{domain}/lr={rate}/seed={seed}.log",
        wildcard_constraints:
            seed=either(seeds),
        conda:
            "../../envs/tradeoff.yaml"
        params:
            root=lambda wildcards, input: Path(input.base).parents[2],
            settings=canonical_json(STUDY.evaluation_spec()),
            benchmarks=lambda wildcards: evaluated(wildcards.domain),
        shell:
            "python -m tradeoff.evaluation.evaluate {output} --base $(dirname {input.base}) --root {params.root} "
            "--settings {params.settings:q} --benchmarks {params.benchmarks:q} 2>&1 | tee {log}"
