# For NVIDIA GPUs: stock vLLM with the plugin.
#   docker build -t longspec .
#   docker run --gpus all -p 8000:8000 -v DRAFT_DIR:/draft longspec MODEL \
#     --speculative-config '{"method": "longspec", "model": "/draft"}'
FROM vllm/vllm-openai:v0.33.0

COPY pyproject.toml README.md LICENSE /opt/longspec/
COPY eval /opt/longspec/eval
COPY longspec_plugin /opt/longspec/longspec_plugin
COPY proposers /opt/longspec/proposers
# The engine of the image stays as it is: no extra `vllm`, and no upgrade of torch.
RUN python3 -m pip install --no-cache-dir "/opt/longspec[eval]" \
 && python3 -c "from longspec_plugin.vllm import register; register()"
