env -u RAY_ADDRESS -u RAY_API_SERVER_ADDRESS ray job submit --no-wait \
    --address http://head:8265 \
    --metadata-json '{"gloss_tune_study": "mr.0"}' \
    --runtime-env-json '{"env_vars": {"RAY_DEDUP_LOGS": "0", "RAY_JOB_STOP_WAIT_TIME_S": "23"}}' \
    -- python -m gloss_tune.clusters.ray_driver \
    --workers 8 --cpus 4 --gpus 1 --memory 16384 --grace 5 \
    -- worker --storage @/shared/url --study mr --artifacts /shared/artifacts --leave-when-empty --grace 5 --threads 4
