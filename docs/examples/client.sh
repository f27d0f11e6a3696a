#!/bin/sh
# A device in a shell script, written from docs/protocol.md: it says that it is there, asks for the PEE that fits
# into its budget, and saves the parts of the answer. It needs mosquitto_pub, mosquitto_sub and a POSIX shell.
#
#   client.sh HOST PORT FLEET DEVICE PASSWORD USER BUDGET_BYTES FOLDER [mosquitto options, such as --cafile ca.crt]
set -eu
host=$1 port=$2 fleet=$3 device=$4 password=$5 user=$6 budget=$7 folder=$8
shift 8
here="peel/1/$fleet/$device"

say() { # say TOPIC MESSAGE [more options]: publish it with QoS 1
  topic=$1 message=$2
  shift 2
  mosquitto_pub -h "$host" -p "$port" -u "$device" -P "$password" -i "$device-says" -q 1 -t "$topic" -m "$message" "$@"
}

mkdir -p "$folder"
rm -f "$folder"/part-*.safetensors

# 1. The session: the answers, and a last will that the broker publishes when this client is gone without a word.
#    Each message is written as: its length, a space, its payload.
mosquitto_sub -h "$host" -p "$port" -u "$device" -P "$password" -i "$device" -c -q 1 -k 60 \
  -t "$here/pee" -N -F '%l %p' \
  --will-topic "$here/status" --will-qos 1 --will-retain \
  --will-payload '{"online":false,"reason":"connection lost"}' "$@" > "$folder/stream" &
session=$!
trap 'kill $session 2> /dev/null || true' EXIT
sleep 1

# 2. Here I am; and what may I hold? `seq` counts up over restarts, as the milliseconds since 1970 do.
say "$here/status" '{"online":true,"reason":"start"}' -r "$@"
say "$here/budget" "{\"seq\":$(date +%s)000,\"budget_bytes\":$budget,\"user\":$user,\"model\":\"\",\"held\":0}" "$@"

# 3. Cut the stream into parts until the last one is there. The fields `part` and `parts` are in the header.
tries=0
while :; do
  sleep 1
  rest=$(wc -c < "$folder/stream") at=0 count=0
  while [ "$at" -lt "$rest" ]; do
    length=$(tail -c +$((at + 1)) "$folder/stream" | head -c 12 | tr '\0' ' ' | cut -d ' ' -f 1)
    start=$((at + ${#length} + 1))
    [ $((start + length)) -le "$rest" ] || break
    count=$((count + 1))
    tail -c +$((start + 1)) "$folder/stream" | head -c "$length" > "$folder/part-$count.safetensors"
    at=$((start + length))
  done
  if [ "$count" -gt 0 ]; then
    parts=$(head -c 2000 "$folder/part-1.safetensors" | tr -c '[:print:]' '\n' | sed -n 's/.*"parts":"\([0-9]*\)".*/\1/p' | head -n 1)
    [ "$count" -lt "$parts" ] || break
  fi
  tries=$((tries + 1))
  [ "$tries" -lt 30 ] || { echo "no answer within 30 s" >&2; exit 1; }
done

# 4. Say goodbye.
say "$here/status" '{"online":false,"reason":"done"}' -r "$@"
echo "$count parts in $folder"
