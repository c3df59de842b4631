#!/bin/sh
# Vanilla and LongSpec, both servers up at once and asked in turns: for machines whose speed drifts.
#   recipes/eval/in_turns.sh [options of eval.speed_bench, such as --num-prompts 91 --turn 7]
# Uses what `make bench` has prepared: .venv, the default target and the shipped draft.
set -eu
cd "$(dirname "$0")/../.."
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_USE_AOT_COMPILE=0 VLLM_CPU_KVCACHE_SPACE=2
model=$(.venv/bin/python recipes/setup/target.py)
config='{"method": "longspec", "model": "recipes/smollm2-135m-instruct/draft"}'
logs=$(mktemp -d) vanilla='' longspec=''
trap 'for p in $vanilla $longspec; do kill -- "-$p" 2> /dev/null || true; done' EXIT INT TERM
half='--host 127.0.0.1 --gpu-memory-utilization 0.4'
# shellcheck disable=SC2086
setsid .venv/bin/vllm serve "$model" $half --port 8101 > "$logs/vanilla.log" 2>&1 &
vanilla=$!
# shellcheck disable=SC2086
setsid .venv/bin/vllm serve "$model" $half --port 8102 --speculative-config "$config" \
  > "$logs/longspec.log" 2>&1 &
longspec=$!
for port in 8101 8102; do
  until curl -sf "http://127.0.0.1:$port/health" > /dev/null; do
    kill -0 "$vanilla" "$longspec" 2> /dev/null || {
      echo "in_turns: a server did not start, see $logs" >&2; exit 1; }
    sleep 1
  done
done
.venv/bin/python -m eval.speed_bench --model "$model" --dataset builtin --concurrency 1 \
  --arms vanilla=http://127.0.0.1:8101,longspec=http://127.0.0.1:8102 --turn 7 \
  --output-dir results/in-turns "$@"
