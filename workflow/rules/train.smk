# One job a run. Cards stand for large files: small inputs are compared by content, so that a touch retrains nothing.


rule train:
    input:
        base="<study>/models/{model}/card.json",
        model=ancient("<study>/models/{model}/model"),
        data="<study>/data/{domain}/train.json",
        card="<study>/data/{domain}/{model}/tokens.json",
        tokens=ancient("<study>/data/{domain}/{model}/tokens.parquet"),
        base_nll=base_losses,
    output:
        card=f"<study>/runs/{RUN}/card.json",
        delta=f"<study>/runs/{RUN}/delta.safetensors",
        steps=f"<study>/runs/{RUN}/steps.parquet",
        provenance=f"<study>/runs/{RUN}/provenance.json",
        snapshots=[f"<study>/runs/{RUN}{at}/card.json" for at in SNAPSHOTS],
        deltas=[f"<study>/runs/{RUN}{at}/delta.safetensors" for at in SNAPSHOTS],
    log:
        f"<study>/logs/train/{RUN}.log",
    wildcard_constraints:
        method=either(STUDY.trained_methods),
    conda:
        "../../envs/tradeoff.yaml"
    resources:
        processes=1,
    params:
        spec=run_spec,
        code=lambda wildcards: code_digest(["tradeoff.training.train", recipe_module(wildcards.method)]),
        checkpoints=f"{ROOT}/checkpoints",
        base_nll=lambda wildcards, input: f"--base-nll {input.base_nll[1]}" if input.base_nll else "",
    # A scheduler's SIGTERM goes to all of a job's processes: the training writes its checkpoint, and the shell waits for it.
    shell:
        "trap '' TERM; python -m tradeoff.training.train --spec {params.spec:q} --code {params.code} "
        "--base $(dirname {input.base}) --data {input.data} --tokens {input.tokens} {params.base_nll} "
        "--output $(dirname {output.card}) --checkpoints {params.checkpoints} --snapshots {output.snapshots} "
        "--processes {resources.processes} 2>&1 | tee {log}"


rule derive:
    input:
        base="<study>/models/{model}/card.json",
        model=ancient("<study>/models/{model}/model"),
        source=lambda wildcards: f"<study>/runs/{STUDY.source_of(run_of(wildcards)).path}/card.json",
        on_the_way=lambda wildcards: [
            f"<study>/runs/{STUDY.source_of(run_of(wildcards)).path}{at}/card.json" for at in SNAPSHOTS
        ],
        deltas=lambda wildcards: deltas_of(wildcards, [wildcards.method]),
    output:
        card=f"<study>/runs/{RUN}/card.json",
        provenance=f"<study>/runs/{RUN}/provenance.json",
        snapshots=[f"<study>/runs/{RUN}{at}/card.json" for at in SNAPSHOTS],
    log:
        f"<study>/logs/derive/{RUN}.log",
    wildcard_constraints:
        method=either(STUDY.derived_methods),
    conda:
        "../../envs/tradeoff.yaml"
    params:
        spec=run_spec,
        code=lambda wildcards: code_digest(["tradeoff.training.derive", recipe_module(wildcards.method)]),
    shell:
        "python -m tradeoff.training.derive --spec {params.spec:q} --code {params.code} "
        "--base $(dirname {input.base}) --source $(dirname {input.source}) --output $(dirname {output.card}) "
        "--snapshots {output.snapshots} 2>&1 | tee {log}"
