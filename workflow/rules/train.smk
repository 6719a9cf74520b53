# One job a run. The base's weights are large, so their card stands for them: small inputs are compared by content, and
# a touch retrains nothing.


def base_losses(wildcards):
    needed = "base_nll" in STUDY.methods[wildcards.method].needs
    return "<study>/data/{domain}/{model}/base_nll.parquet" if needed else []


rule train:
    input:
        base="<study>/models/{model}/card.json",
        data="<study>/data/{domain}/card.json",
        tokens="<study>/data/{domain}/{model}/tokens.parquet",
        base_nll=base_losses,
    output:
        card=f"{RUN}/card.json",
        delta=f"{RUN}/delta.safetensors",
        steps=f"{RUN}/steps.parquet",
    log:
        RUN.replace("/runs/", "/logs/train/") + ".log",
    wildcard_constraints:
        method=either(STUDY.trained_methods),
    conda:
        "../../envs/tradeoff.yaml"
    params:
        spec=run_spec,
        code=lambda wildcards: code_digest(["tradeoff.training.train", recipe_module(wildcards.method)]),
        base_nll=lambda wildcards, input: f"--base-nll {input.base_nll}" if input.base_nll else "",
    shell:
        "python -m tradeoff.training.train --spec {params.spec:q} --code {params.code} "
        "--base $(dirname {input.base}) --data $(dirname {input.data}) --tokens {input.tokens} {params.base_nll} "
        "--output $(dirname {output.card}) 2>&1 | tee {log}"


rule derive:
    input:
        base="<study>/models/{model}/card.json",
        source=lambda wildcards: f"<study>/runs/{STUDY.source_of(run_of(wildcards)).path}/card.json",
    output:
        f"{RUN}/card.json",
    log:
        RUN.replace("/runs/", "/logs/derive/") + ".log",
    wildcard_constraints:
        method=either(STUDY.derived_methods),
    conda:
        "../../envs/tradeoff.yaml"
    params:
        spec=run_spec,
        code=lambda wildcards: code_digest(["tradeoff.training.derive", recipe_module(wildcards.method)]),
    shell:
        "python -m tradeoff.training.derive --spec {params.spec:q} --code {params.code} "
        "--base $(dirname {input.base}) --source $(dirname {input.source}) --output $(dirname {output}) "
        "2>&1 | tee {log}"
