# One job a model, on all its benchmarks: starting and loading cost more than a small benchmark. What a benchmark's
# outcome depends on is the key of a store, so that one more benchmark costs that benchmark alone.


rule sample_base_text:
    input:
        base="<study>/models/{model}/card.json",
    output:
        "<study>/models/{model}/base_text.parquet",
    log:
        "<study>/logs/sample_base_text/{model}.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        texts=STUDY.evaluation.items,
        precision=STUDY.evaluation.precision,
        seed=STUDY.data.seed,
        code=code_digest(["tradeoff.evaluation.base_text"]),
    shell:
        "python -m tradeoff.evaluation.base_text $(dirname {input.base}) {output} --items {params.texts} "
        "--precision {params.precision} --seed {params.seed} 2>&1 | tee {log}"


rule evaluate_base:
    input:
        base="<study>/models/{model}/card.json",
        texts="<study>/models/{model}/base_text.parquet",
        data=expand("<study>/data/{domain}/test.json", domain=STUDY.domains),
    output:
        f"<study>/runs/{{model}}/{BASE}/samples.parquet",
    log:
        "<study>/logs/evaluate_base/{model}.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        root=lambda wildcards, input: Path(input.base).parents[2],
        settings=canonical_json(STUDY.evaluation_spec()),
        benchmarks=[*STUDY.domains, *STUDY.general],
        code=evaluation_code([*STUDY.domains, *STUDY.general]),
    shell:
        "python -m tradeoff.evaluation.evaluate --base $(dirname {input.base}) --texts {input.texts} "
        "--data {params.root}/data --store {params.root}/evaluations --settings {params.settings:q} "
        "--benchmarks {params.benchmarks} --code {params.code:q} --label {wildcards.model} --output {output} "
        "2>&1 | tee {log}"


rule evaluate:
    input:
        base="<study>/models/{model}/card.json",
        texts="<study>/models/{model}/base_text.parquet",
        data="<study>/data/{domain}/test.json",
        run=f"<study>/runs/{RUN}/card.json",
    output:
        f"<study>/runs/{RUN}/samples.parquet",
    log:
        f"<study>/logs/evaluate/{RUN}.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        root=lambda wildcards, input: Path(input.base).parents[2],
        settings=canonical_json(STUDY.evaluation_spec()),
        benchmarks=lambda wildcards: [wildcards.domain, *STUDY.general],
        code=lambda wildcards: evaluation_code([wildcards.domain, *STUDY.general]),
    shell:
        "python -m tradeoff.evaluation.evaluate --base $(dirname {input.base}) --run $(dirname {input.run}) "
        "--texts {input.texts} --data {params.root}/data --store {params.root}/evaluations "
        "--settings {params.settings:q} --benchmarks {params.benchmarks} --code {params.code:q} "
        "--label '{wildcards.method} {wildcards.rate} {wildcards.seed}' --output {output} 2>&1 | tee {log}"
