# What a study starts from: base models, domains' examples, and these as tokens.


rule import_base:
    output:
        card="<study>/models/{model}/card.json",
        weights="<study>/models/{model}/model.safetensors",
    log:
        "<study>/logs/import_base/{model}.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        source=lambda wildcards: STUDY.models[wildcards.model].source,
        revision=lambda wildcards: STUDY.models[wildcards.model].revision or "",
    shell:
        "python -m tradeoff.models {params.source:q} $(dirname {output.card}) --revision={params.revision:q} "
        "2>&1 | tee {log}"


rule draw:
    output:
        examples="<study>/data/{domain}/{split}.jsonl",
        card="<study>/data/{domain}/{split}.json",
    log:
        "<study>/logs/draw/{domain}/{split}.log",
    wildcard_constraints:
        split="train|test",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        spec=lambda wildcards: canonical_json(STUDY.data_spec(wildcards.domain, wildcards.split)),
        code=lambda wildcards: code_digest(["tradeoff.data", f"tradeoff.domains.{wildcards.domain}"]),
    shell:
        "python -m tradeoff.data {params.spec:q} {output.examples} 2>&1 | tee {log}"


rule encode:
    input:
        base="<study>/models/{model}/card.json",
        card="<study>/data/{domain}/train.json",
        examples=ancient("<study>/data/{domain}/train.jsonl"),
    output:
        tokens="<study>/data/{domain}/{model}/tokens.parquet",
        card="<study>/data/{domain}/{model}/tokens.json",
    log:
        "<study>/logs/encode/{model}/{domain}.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        length=STUDY.training.max_length,
        code=code_digest(["tradeoff.training.encode"]),
    shell:
        "python -m tradeoff.training.encode $(dirname {input.base}) {input.examples} {params.length} {output.tokens} "
        "2>&1 | tee {log}"


rule measure_base:
    input:
        base="<study>/models/{model}/card.json",
        card="<study>/data/{domain}/{model}/tokens.json",
        tokens=ancient("<study>/data/{domain}/{model}/tokens.parquet"),
    output:
        nll="<study>/data/{domain}/{model}/base_nll.parquet",
        card="<study>/data/{domain}/{model}/base_nll.json",
    log:
        "<study>/logs/measure_base/{model}/{domain}.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        tokens=STUDY.training.batch_tokens,
        precision=STUDY.training.precision,
        code=code_digest(["tradeoff.training.base_nll"]),
    shell:
        "python -m tradeoff.training.base_nll $(dirname {input.base}) {input.tokens} {output.nll} "
        "--batch-tokens {params.tokens} --precision {params.precision} 2>&1 | tee {log}"
