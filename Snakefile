# Which method, at which learning rate, gains most on a domain for what it loses in general ability?
# The default study is config/quickstart.yaml; another one: snakemake --configfile config/worked.yaml


include: "workflow/rules/common.smk"


pathvars:
    study=ROOT,


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/explain.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        expand("<study>/tables/{name}.parquet", name=[*TABLES, "leakage", *EXPLANATIONS]),
        expand("<study>/figures/{name}.svg", name=[*FIGURES, *WHY]),
        "<study>/report.html",
        "<study>/summary.txt",


onsuccess:
    shell("test ! -f {ROOT}/summary.txt || cat {ROOT}/summary.txt")
