#!/usr/bin/env bash
# A real SLURM of one node on the loopback, for tests: controller, node and munge, nothing of it in /etc.
#
#   apt-get install -y slurm-wlm munge
#   tests/slurm/cluster.sh start FOLDER   then: export SLURM_CONF=FOLDER/slurm.conf PATH=FOLDER/bin:$PATH
#   tests/slurm/cluster.sh stop FOLDER
#
# It needs root. No accounting, so jobs are watched with squeue. Its memory and its four GPUs are what
# the profile asks for; neither is there.
set -euo pipefail

action=$1 folder=$2
conf=$folder/slurm.conf

start() {
  mkdir -p "$folder"/{state,spool,bin}
  cat >"$conf" <<END
ClusterName=loopback
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
MinJobAge=300
SlurmctldTimeout=300
SlurmdTimeout=300
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName=$(hostname) NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=500000 Gres=gpu:4 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
  # Inside a job the executor plugin drops SLURM_CONF, which a cluster with its file in /etc does not need.
  printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$conf" "$(command -v srun)" >"$folder/bin/srun"
  chmod +x "$folder/bin/srun"
  printf 'Name=gpu File=/dev/%s\n' null zero full urandom >"$folder/gres.conf"
  dd if=/dev/urandom of="$folder/munge.key" bs=1024 count=1 status=none
  chmod 700 "$folder" && chmod 600 "$folder/munge.key"
  munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
  SLURM_CONF=$conf slurmctld -f "$conf"
  SLURM_CONF=$conf slurmd -f "$conf"
  for _ in $(seq 120); do
    if SLURM_CONF=$conf sinfo --noheader --format=%t 2>/dev/null | grep -q '^idle'; then
      echo "slurm is up: export SLURM_CONF=$conf PATH=$folder/bin:\$PATH"
      return
    fi
    sleep 1
  done
  tail -n 20 "$folder"/*.log >&2
  exit 1
}

stop() {
  SLURM_CONF=$conf scancel --user="$(id -un)" 2>/dev/null || true
  for name in slurmd slurmctld munged; do
    if [ -f "$folder/$name.pid" ]; then kill "$(cat "$folder/$name.pid")" 2>/dev/null || true; fi
  done
}

"$action"
