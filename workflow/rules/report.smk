# What a person looks at.


rule plot:
    input:
        "<study>/tables/tradeoff.parquet",
    output:
        svg=report("<study>/figures/pareto.svg", caption="../report/pareto.rst", category="Trade-off"),
        png="<study>/figures/pareto.png",
    log:
        "<study>/logs/plot.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        study=STUDY.study,
        rates=", ".join(STUDY.learning_rates),
        train=STUDY.data.train,
        test=STUDY.data.test,
        general_items=general_items(),
        epochs=STUDY.training.epochs,
        number_of_seeds=len(STUDY.seeds),
        code=code_digest(["tradeoff.report.figures"]),
    script:
        "../scripts/plot.py"


rule summarise:
    input:
        tradeoff="<study>/tables/tradeoff.parquet",
        scores="<study>/tables/scores.parquet",
        recommendation="<study>/tables/recommendation.parquet",
    output:
        "<study>/summary.txt",
    log:
        "<study>/logs/summarise.log",
    conda:
        "../../envs/tradeoff.yaml"
    params:
        benchmarks=benchmarks(),
        code=code_digest(["tradeoff.report.terminal"]),
    script:
        "../scripts/summarise.py"
