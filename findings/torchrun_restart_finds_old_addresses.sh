#!/usr/bin/env bash
# torchrun of PyTorch 2.13.0 gives processes that it starts again the store of the processes that were lost.
#
# The source of torch.distributed says that every retry has a new TCPStore, so keys need no number of the attempt. But
# the c10d rendezvous makes its store once and keeps it: after a restart (--max-restarts) MASTER_PORT is the same, and
# what the first processes have written is still there. init_process_group keeps the addresses of all ranks in it, so a
# process that is early finds where a lost one was ("connectFullMesh failed … Connection refused"), and whether a
# restart succeeds is a matter of luck. With TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in torchrun's environment the second
# attempt has another port and an empty store.
#
# Fails if one of these answers changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "numpy==2.4.6"
cat > "$folder/worker.py" <<'PYTHON'
import os
import sys
from datetime import timedelta

from torch.distributed import rendezvous

attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=30)))
print(f"attempt {attempt} port {os.environ['MASTER_PORT']} left by an earlier one: {store.check(['written'])}", flush=True)
store.set("written", "by attempt " + attempt)
sys.exit(attempt == "0")  # the first attempt fails, and torchrun starts the second
PYTHON
for own in 0 1; do
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=$own "$folder/venv/bin/python" -m torch.distributed.run --standalone \
        --nproc_per_node 1 --max-restarts 1 "$folder/worker.py" 2> /dev/null | tee "$folder/seen$own"
done
port() { sed -n "s/^attempt $2 port \([0-9]*\) .*/\1/p" "$folder/seen$1"; }
[ "$(grep -c '^attempt' "$folder/seen0")" = 2 ] && [ "$(grep -c '^attempt' "$folder/seen1")" = 2 ]
grep -q "^attempt 0 .*: False" "$folder/seen0" && grep -q "^attempt 1 .*: True" "$folder/seen0"
[ "$(port 0 0)" = "$(port 0 1)" ]
grep -q "^attempt 1 .*: False" "$folder/seen1" && [ "$(port 1 0)" != "$(port 1 1)" ]
