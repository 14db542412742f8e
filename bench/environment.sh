# Sourced by the benches: sets PYTHON to an interpreter that has PyTorch and ONNX Runtime (an environment made once, from
# PyPI, where PYTHON is not set already) and DATAMUX to the command (default build/datamux).
if [ -z "${PYTHON:-}" ]; then
  env=${XDG_CACHE_HOME:-$HOME/.cache}/datamux/bench-env
  if [ ! -x "$env/bin/python" ]; then
    echo "making $env with PyTorch and ONNX Runtime (once)" >&2
    python3 -m venv "$env" && "$env/bin/pip" install -q torch numpy onnx onnxscript onnxruntime
  fi
  PYTHON=$env/bin/python
fi
export PYTHON DATAMUX="${DATAMUX:-build/datamux}"
