#!/bin/sh
# Checks one evidence bundle of TrueUp with nothing but a POSIX shell and openssl (3.0 or newer).
#
#   verify-evidence.sh FOLDER PUBLIC-KEY.pem
#
# FOLDER has manifest.dsse.json, checkpoint, proof.json and the exported file. Exit codes are those of `trueup verify`: 0 match,
# 10 altered, 11 missing, 12 gap, 13 empty, 14 unknown key, 15 unverifiable. docs/evidence.md explains each step.
set -u
LC_ALL=C; export LC_ALL
folder=$1 key=$2
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
found=' '
say() { echo "$1: $2"; found="$found$1 "; }
sha() { openssl dgst -sha256 -r "$@" | cut -d ' ' -f 1; }
bin() { printf "$(printf %s "$1" | awk '{ h = "0123456789abcdef"; for (i = 1; i < length($0); i += 2)
  printf "\\%03o", (index(h, substr($0, i, 1)) - 1) * 16 + index(h, substr($0, i + 1, 1)) - 1 }')"; }
b64() { printf %s "$1" | openssl base64 -d -A > "$2" && [ "$(openssl base64 -A -in "$2")" = "$1" ]; }
signed() { openssl pkeyutl -verify -pubin -inkey "$key" -rawin -in "$1" -sigfile "$2" > /dev/null 2>&1; }
one_line() { [ "$(tr -d '\000\n' < "$1" | wc -c)" -eq "$(wc -c < "$1")" ]; }
field() { printf %s "$2" | sed -n "s/^$3\$/\\$1/p"; }
done_() {
  for outcome in altered:10 unknown_key:14 missing:11 gap:12 empty:13 unverifiable:15; do
    case $found in *" ${outcome%:*} "*) echo "${outcome%:*}"; exit "${outcome#*:}" ;; esac
  done
  echo match; exit 0
}
# Whose signature: named ($1) and valid ($2) must both be this key's. Neither: somebody we don't know.
judge() { case $1$2 in yesyes) ;; nono) say unknown_key "$3" ;; *) say altered "$3" ;; esac; }

envelope=$folder/manifest.dsse.json
[ -f "$envelope" ] || { say empty 'no manifest'; done_; }
openssl pkey -pubin -in "$key" -outform DER -out "$t/der" || exit 1
key_id=$(sha "$t/der")

# The envelope: one line of canonical JSON without an end of line.
line=$(tr -d '\000' < "$envelope")
shape='{"payload":"\([^"]*\)","payloadType":"\([^"]*\)","signatures":\[{"keyid":"\([^"]*\)","sig":"\([^"]*\)"}\]}'
type=$(field 2 "$line" "$shape")
if [ "$type" != application/vnd.in-toto+json ] || ! one_line "$envelope" ||
  ! b64 "$(field 1 "$line" "$shape")" "$t/payload" || ! b64 "$(field 4 "$line" "$shape")" "$t/sig"; then
  say altered 'the envelope is not in canonical form'; done_
fi
{ printf 'DSSEv1 %d %s %d ' ${#type} "$type" "$(wc -c < "$t/payload")"; cat "$t/payload"; } > "$t/pae"
named=no; [ "$(field 3 "$line" "$shape")" = "$key_id" ] && named=yes
valid=no; signed "$t/pae" "$t/sig" && valid=yes
judge $named $valid 'the signature of the manifest'
payload=$(cat "$t/payload")
id=$(field 1 "$payload" '.*"manifestId":"\([^"]*\)","requester":.*')

# The checkpoint: name, size, root, an empty line, a signature that begins with the first 4 bytes of the key's hash.
if [ -f "$folder/checkpoint" ]; then
  origin=$(sed -n 1p "$folder/checkpoint") size=$(sed -n 2p "$folder/checkpoint") root=$(sed -n 3p "$folder/checkpoint")
  signature=$(sed -n 5p "$folder/checkpoint"); signature=${signature#"— $origin "}
  printf '%s\n%s\n%s\n' "$origin" "$size" "$root" > "$t/note"
  { cat "$t/note"; printf '\n— %s %s\n' "$origin" "$signature"; } > "$t/again"
  if ! cmp -s "$t/again" "$folder/checkpoint" || ! b64 "$signature" "$t/full" || ! b64 "$root" "$t/root"; then
    say altered 'the checkpoint is not in its form'
  else
    head -c 4 "$t/full" > "$t/hash"; tail -c +5 "$t/full" > "$t/sig"
    { printf '%s\n\001' "$origin"; tail -c 32 "$t/der"; } | openssl dgst -sha256 -binary | head -c 4 > "$t/own"
    named=no; cmp -s "$t/hash" "$t/own" && named=yes
    valid=no; signed "$t/note" "$t/sig" && valid=yes
    judge $named $valid 'the signature of the checkpoint'
  fi
else say unverifiable 'no checkpoint'; fi

# The proof: the leaf says the hash of the envelope; hashed with each sibling it must lead to the root (RFC 6962).
if [ -f "$folder/checkpoint" ] && [ -f "$folder/proof.json" ]; then
  proof=$(tr -d '\000' < "$folder/proof.json")
  shape='{"hashes":\[\(["0-9a-f,]*\)\],"leafHash":"\([0-9a-f]\{64\}\)","logIndex":\([0-9]*\),"treeSize":\([0-9]*\)}'
  index=$(field 3 "$proof" "$shape") last=$(field 4 "$proof" "$shape")
  leaf=$({ printf '\000'; printf '{"envelopeSha256":"%s","kind":"manifest","manifestId":"%s"}' "$(sha "$envelope")" "$id"; } | sha)
  if ! one_line "$folder/proof.json" || [ "$last" != "$size" ] ||
    [ "$(field 2 "$proof" "$shape")" != "$leaf" ] || [ "$index" -ge "$last" ]; then
    say altered 'the proof is not one of this manifest'
  else
    list=$(field 1 "$proof" "$shape") at=$leaf last=$((last - 1))
    for sibling in $(printf %s "$list" | tr -d '"' | tr ',' ' '); do
      [ "${#sibling}" -eq 64 ] && [ "$last" -gt 0 ] || { at=none; break; }
      if [ $((index % 2)) -eq 1 ] || [ "$index" -eq "$last" ]; then
        pair=$sibling$at
        while [ $((index % 2)) -eq 0 ] && [ "$index" -gt 0 ]; do index=$((index / 2)) last=$((last / 2)); done
      else pair=$at$sibling; fi
      at=$(bin "01$pair" | sha) index=$((index / 2)) last=$((last / 2))
    done
    expected=$(printf '{"hashes":[%s],' "$(printf %s "$list" | sed 's/"//g; s/[0-9a-f]\{64\}/"&"/g')")
    case $proof in "$expected"*) ;; *) at=none ;; esac
    bin "$(printf %s "$at" | grep -x '[0-9a-f]\{64\}')" | cmp -s - "$t/root" && [ "$last" -eq 0 ] ||
      say altered "the proof doesn't lead to the root"
  fi
else say unverifiable 'no proof'; fi

# The exported file, by its name or, renamed, by its hash: in its parts, or whole where it was downloaded as one.
printf '%s\n' "$payload" | sed 's/.*"subject":\[//; s/\]}$//' | tr '{' '\n' |
  sed -n 's/^"sha256":"\([0-9a-f]*\)"},"name":"\([^"]*\)".*/\1 \2/p' > "$t/parts"
whole=$(field 1 "$payload" '.*"schema":"[^"]*","sha256":"\([0-9a-f]*\)".*')
file=$(field 1 "$payload" '.*"fileName":"\([^"]*\)".*')
if [ -f "$folder/$file" ] || find "$folder" -type f -exec openssl dgst -sha256 -r {} + | grep -q "^$whole "; then
  echo "$whole $file" > "$t/parts"
fi
while read -r hash name; do
  if [ -f "$folder/$name" ] && [ "$(sha "$folder/$name")" = "$hash" ]; then continue; fi
  find "$folder" -type f -exec openssl dgst -sha256 -r {} + | grep -q "^$hash " && continue
  if [ -f "$folder/$name" ]; then say altered "$name"; else say missing "$name"; fi
done < "$t/parts"
case $payload in *'"complete":false'*) say gap 'not every ledger was covered' ;; esac
case $payload in *'"rowCount":0,'*) say empty 'the export has no row' ;; esac
done_
