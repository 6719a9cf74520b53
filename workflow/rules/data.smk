# What a study starts from: base models, data from outside, domains' examples, and these as tokens.


rule import_base:
    input:
        files=base_files,
        template=chat_template,
    output:
        card="<study>/models/{model}/card.json",
        model=directory("<study>/models/{model}/model"),
    log:
        "<study>/logs/import_base/{model}.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        spec=lambda wildcards: canonical_json(STUDY.model_spec(wildcards.model)),
        package=lambda wildcards: STUDY.all_models[wildcards.model].package_sha256() or "",
        template=lambda wildcards, input: f"--template {quote(str(input.template))}" if input.template else "",
        code=code_digest(["tradeoff.models.import_base"]),
    shell:
        "python -m tradeoff.models.import_base {params.spec:q} $(dirname {output.card}) {params.template} "
        "2>&1 | tee {log}"


# What bytes a datum has is in the specs of the jobs that read it, so that a touched or moved file runs none of them again.
# It is fetched where Snakemake runs: there are the network and the files.
rule fetch:
    input:
        local_file,
    output:
        card="<study>/sources/{datum}.json",
        data=directory("<study>/sources/{datum}"),
    log:
        "<study>/logs/fetch/{datum}.log",
    localrule: True
    conda:
        "../../envs/tradeoff.yaml"
    params:
        datum=lambda wildcards: canonical_json(asdict(DATA[wildcards.datum])),
        content=lambda wildcards: sources.identity(DATA[wildcards.datum], STUDY.data_root),
        data_root=STUDY.data_root or "",
        code=code_digest(["tradeoff.sources"]),
    shell:
        "python -m tradeoff.sources {wildcards.datum} {output.card} --data-root={params.data_root:q} 2>&1 | tee {log}"


# A data set of the hub that a domain names: its split at one commit.
rule fetch_table:
    output:
        card="<study>/sources/{table}.json",
        data=directory("<study>/sources/{table}"),
    log:
        "<study>/logs/fetch/{table}.log",
    localrule: True
    conda:
        "../../envs/tradeoff.yaml"
    params:
        table=lambda wildcards: canonical_json(asdict(HUB_TABLES[wildcards.table])),
        code=code_digest(["tradeoff.hub"]),
    shell:
        "python -m tradeoff.hub {params.table:q} {output.card} 2>&1 | tee {log}"


# The data sets of a benchmark of lm-eval, likewise; with them its items are the same in every job.
rule fetch_benchmark:
    input:
        benchmark_files,
    output:
        card="<study>/benchmarks/{benchmark}.json",
        data=directory("<study>/benchmarks/{benchmark}"),
    log:
        "<study>/logs/fetch_benchmark/{benchmark}.log",
    localrule: True
    conda:
        "../../envs/tradeoff.yaml"
    params:
        spec=lambda wildcards: canonical_json(benchmark_data(wildcards.benchmark)),
        data_root=STUDY.data_root or "",
        code=code_digest(["tradeoff.evaluation.harness.data"]),
    shell:
        "python -m tradeoff.evaluation.harness.data {params.spec:q} {output.card} --data-root={params.data_root:q} "
        "2>&1 | tee {log}"


rule draw:
    input:
        named=named,
        data=data_of,
    output:
        examples="<study>/data/{domain}/{part}.jsonl",
        card="<study>/data/{domain}/{part}.json",
    log:
        "<study>/logs/draw/{domain}/{part}.log",
    wildcard_constraints:
        part="(train|test)(_questions)?",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        spec=lambda wildcards: canonical_json(STUDY.data_spec(wildcards.domain, split_of(wildcards))),
        files=lambda wildcards, input: canonical_json(dict(zip(drawn_from(wildcards), input.named))),
        code=lambda wildcards: examples_code(wildcards.domain),
    shell:
        "python -m tradeoff.data {params.spec:q} {output.examples} {params.files:q} 2>&1 | tee {log}"


ruleorder: distill > draw


rule distill:
    input:
        teacher=lambda wildcards: f"<study>/models/{STUDY.domains[wildcards.domain].taught_by}/card.json",
        model=lambda wildcards: ancient(f"<study>/models/{STUDY.domains[wildcards.domain].taught_by}/model"),
        card="<study>/data/{domain}/{part}_questions.json",
        questions=ancient("<study>/data/{domain}/{part}_questions.jsonl"),
    output:
        examples="<study>/data/{domain}/{part}.jsonl",
        card="<study>/data/{domain}/{part}.json",
    log:
        "<study>/logs/distill/{domain}/{part}.log",
    wildcard_constraints:
        domain=either(TAUGHT),
        part="train|test",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        spec=lambda wildcards: canonical_json(STUDY.data_spec(wildcards.domain, wildcards.part)),
        settings=canonical_json(STUDY.distill_spec()),
        code=lambda wildcards: code_digest(["tradeoff.distill", domain_module(wildcards.domain)]),
    shell:
        "python -m tradeoff.distill {params.spec:q} $(dirname {input.teacher}) {input.questions} {output.examples} "
        "--settings {params.settings:q} 2>&1 | tee {log}"


rule encode:
    input:
        base="<study>/models/{model}/card.json",
        model=ancient("<study>/models/{model}/model"),
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
        model=ancient("<study>/models/{model}/model"),
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
