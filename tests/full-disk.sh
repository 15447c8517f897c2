#!/usr/bin/env bash
# A disk that fills up in the middle of a conversation, of a backup, a restore, an import or a rollback:
# exit code 74, nothing lost, nothing left over, and it works again when there is space. Needs root, to mount a small tmpfs.
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
turns=$n

# Backups, restores, imports and rollbacks on a disk that has hardly any space.
umount "$mount"
mount -t tmpfs -o size=16m,mode=700 tmpfs "$mount"
data=$PACHAT_DATA_DIR

# Everything that is the user's: digests of conversations, settings, backups and points.
state() {
    (cd "$data" && { find conversations config backups -type f -exec sha256sum {} + 2>/dev/null || true; } | sort -k 2)
}
# Leaves about so many KiB free.
fill() {
    rm -f "$mount/ballast"
    local free
    free=$(($(stat -f -c '%a * %S / 1024' "$mount")))
    dd if=/dev/zero of="$mount/ballast" bs=1K count=$((free - $1)) status=none
}
fail() {
    echo "full-disk: $1" >&2
    cat "$home/err" >&2
    exit 1
}
# Runs a command with more and more space, until it has enough.
meet_the_end() {
    local before after full=0 space code
    before=$(state)
    for space in 0 4 8 20 60 150 300 700 2000; do
        fill "$space"
        code=0
        "$pachat" "$@" </dev/null >"$home/out" 2>"$home/err" || code=$?
        after=$(state)
        rm -f "$mount/ballast"
        if [ "$code" = 0 ]; then
            [ "$full" -gt 0 ] || fail "$*: never met the end"
            ends=$((ends + full))
            return 0
        fi
        full=$((full + 1))
        [ "$code" = 74 ] || fail "$*: exit code $code with $space KiB"
        grep -q 'the disk is full\|are free' "$home/err" || fail "$*: $space KiB"
        # A rollback point that was made before the disk was full may stay.
        after=$(grep -vxFf <(echo "$before") <<<"$after" | grep -v ' backups/points/' || true)$(grep -vxFf <(echo "$after") <<<"$before" || true)
        [ -z "$after" ] || fail "$*: files have changed with $space KiB"
        if find "$mount" \( -name '.*.tmp' -o -name '*.partial' -o -name '*.pachat-tmp' -o -path '*/.swap/*' \) | grep .; then
            fail "$*: left over with $space KiB"
        fi
    done
    fail "$*: there is never enough"
}
ends=0

send 'where are my files?' >"$home/out" 2>"$home/err"
python3 - "$data/conversations/active" <<'PY'
import json, pathlib, random, sys
directory = pathlib.Path(sys.argv[1])
source = random.Random(7)
for number in range(40):
    name = f"20260822-0800{number:02}-aaaaaa"
    lines = [{"type": "conversation", "version": 1, "id": name, "created_at": "2026-08-22T08:00:00.000Z", "title": "t"}]
    for n in range(1, 11):
        text = f"{source.getrandbits(16_000):x}"
        lines.append({"type": "message", "n": n, "role": "user", "content": text, "at": "2026-08-22T08:00:00.000Z"})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (directory / f"{name}.jsonl").write_text(text)
PY
quietly() { "$pachat" "$@" </dev/null >"$home/out" 2>"$home/err" || fail "$*"; }
"$pachat" export --all -F jsonl >"$home/all.jsonl"
meet_the_end backup
quietly backup
find "$data/conversations/active" -name '20260822-*' -delete
meet_the_end restore latest --yes
quietly restore latest --yes
find "$data/conversations/active" -name '20260822-*' -delete
meet_the_end import "$home/all.jsonl"
quietly import "$home/all.jsonl"
"$pachat" export --all -F jsonl | cmp - "$home/all.jsonl" || fail 'not everything was imported'
meet_the_end backup --force -o "$mount/copy.tar.gz"
meet_the_end restore latest --to "$mount/other"
point=$("$pachat" rollback --list | head -n 1 | cut -f 1)
send 'one more' >"$home/out" 2>"$home/err"
meet_the_end rollback --rollback-point "$point" --yes
quietly rollback --rollback-point "$point" --yes
ls "$data/conversations/active" | grep -c 20260822 >"$home/out" && fail 'the rollback did not go back' 
echo "full-disk: $turns turns and $ends backups, restores, imports and rollbacks, then exit code 74; nothing lost, and it works again with more space"
