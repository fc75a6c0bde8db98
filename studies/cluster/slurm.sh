#!/bin/bash
#SBATCH --job-name=gloss-tune-mr.0
#SBATCH --array=1-8
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --gres=gpu:1
#SBATCH --mem=16384M
#SBATCH --partition=gpu
#SBATCH --time=0-04:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=/shared/artifacts/launch/mr.0/%A_%a.log

unset GLOSS_TUNE_STORAGE
trap : TERM USR1
srun --ntasks=1 --cpus-per-task=4 /shared/venv/bin/python -m gloss_tune worker --storage @/shared/url --study mr --artifacts /shared/artifacts --leave-when-empty --grace 5 --threads 4
code=$?

# 75: asked to leave with work remaining. 69: the storage is away. Above 128: ended by a signal. Only a job that still
# counts as running goes back to the queue, by its array id: one that was cancelled stays cancelled.
again() {
    [ "$code" -eq 75 ] && return 0
    [ "$code" -eq 69 ] || [ "$code" -gt 128 ] || return 1
    [ "${SLURM_RESTART_COUNT:-0}" -lt 100 ]
}
me=${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}
if again && [ "$(squeue --noheader --jobs="$me" --format=%T)" = RUNNING ]; then
    scontrol requeue "$me" && sleep 60 # Slurm ends this script meanwhile
fi
exit "$code"
