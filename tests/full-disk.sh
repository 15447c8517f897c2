#!/usr/bin/env bash
# A disk that fills up in the middle of a conversation: exit code 74, nothing lost, and it
# works again when there is space. Needs root, to mount a small tmpfs.
#
#   tests/full-disk.sh PATH_OF_PACHAT
set -euo pipefail
pachat=$(realpath "$1")
mount=$(mktemp -d)
home=$(mktemp -d)
mount -t tmpfs -o size=192k,mode=700 tmpfs "$mount"
trap 'umount "$mount"; rmdir "$mount"; rm -rf "$home"' EXIT
export HOME=$home PACHAT_DATA_DIR=$mount/pachat

send() { "$pachat" send -m builtin/guide "$@" </dev/null; }

# Every line of every conversation is whole, and so many prompts are there.
check() {
    python3 - "$mount/pachat/conversations/active" "$1" <<'PY'
import json, pathlib, sys
prompts = 0
for path in pathlib.Path(sys.argv[1]).glob("*.jsonl"):
    text = path.read_text()
    assert text.endswith("\n"), f"{path} ends in mid-line"
    prompts += sum(json.loads(line).get("role") == "user" for line in text.splitlines())
assert prompts == int(sys.argv[2]), f"{prompts} prompts are there, not {sys.argv[2]}"
PY
}

send 'where are my files?' >"$home/out" 2>"$home/err"
stored=1
for ((n = 1; n < 500; n++)); do
    code=0
    send -c "question number $n: why is my reply cut?" >"$home/out" 2>"$home/err" || code=$?
    if [ "$code" != 0 ]; then break; fi
    stored=$((stored + 1))
done
[ "$code" = 74 ] || { echo "full-disk: exit code $code, not 74" >&2; cat "$home/err" >&2; exit 1; }
grep -q 'the disk is full' "$home/err" || { cat "$home/err" >&2; exit 1; }
# The prompt that met the end may have been stored before the reply was refused.
check "$stored" 2>/dev/null || { stored=$((stored + 1)); check "$stored"; }

mount -o remount,size=8m "$mount"
send -c 'and with more space?' >"$home/out" 2>"$home/err"
check $((stored + 1))
[ -z "$(find "$mount/pachat/conversations" -name '*.partial' -o -name '.*.tmp')" ] ||
    { echo 'full-disk: a temporary file is left over' >&2; exit 1; }
echo "full-disk: $n turns, then exit code 74; nothing lost, and it works again with more space"
