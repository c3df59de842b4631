#!/bin/sh
# Vanilla and LongSpec, both servers up at once and asked in turns: for machines whose speed drifts.
#   recipes/eval/in_turns.sh [options of eval.speed_bench, such as --num-prompts 91 --turn 7]
#   OTHER=DIR recipes/eval/in_turns.sh [...]   LongSpec of another checkout, and of this one
# Uses what `make bench` has prepared: .venv, the default target and the shipped draft. Traces of the
# LongSpec servers lie beside the results; with OTHER their cycles are compared at the end.
set -eu
cd "$(dirname "$0")/../.."
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_USE_AOT_COMPILE=0 VLLM_CPU_KVCACHE_SPACE=2
model=$(.venv/bin/python recipes/setup/target.py)
config="{\"method\": \"longspec\", \"model\": \"$PWD/recipes/smollm2-135m-instruct/draft\"}"
logs=$(mktemp -d) first='' second=''
trap 'for p in $first $second; do kill -- "-$p" 2> /dev/null || true; done' EXIT INT TERM

serve() {  # checkout, name, port, options
  code=$1 name=$2 port=$3
  shift 3
  PYTHONPATH=$code LONGSPEC_TRACE=$logs/$name.jsonl setsid .venv/bin/vllm serve "$model" \
    --host 127.0.0.1 --gpu-memory-utilization 0.4 --port "$port" "$@" > "$logs/$name.log" 2>&1 &
}

if [ -n "${OTHER:-}" ]; then
  names='before after'
  serve "$OTHER" before 8101 --speculative-config "$config"
else
  names='vanilla longspec'
  serve "$PWD" vanilla 8101
fi
first=$!
serve "$PWD" "${names#* }" 8102 --speculative-config "$config"
second=$!
for port in 8101 8102; do
  until curl -sf "http://127.0.0.1:$port/health" > /dev/null; do
    kill -0 "$first" "$second" 2> /dev/null || {
      echo "in_turns: a server did not start, see $logs" >&2; exit 1; }
    sleep 1
  done
done
.venv/bin/python -m eval.speed_bench --model "$model" --dataset builtin --concurrency 1 \
  --arms "${names% *}=http://127.0.0.1:8101,${names#* }=http://127.0.0.1:8102" --turn 7 \
  --output-dir results/in-turns "$@"
[ -z "${OTHER:-}" ] || .venv/bin/python -m recipes.eval.cycles "$logs/before.jsonl" "$logs/after.jsonl"
