#!/bin/sh
# Writes a broker for the fleet `demo` into BROKER, and the logins of cloud and fleet into folders of their own.
# An installation that is there already stays as it is. The arguments are folders that exist.
# usage: setup-broker.sh BROKER CLOUD FLEET HOST [PORT]
set -eu
broker=$1 cloud=$2 fleet=$3 host=$4 port=${5:-8883}
if [ ! -e "$broker/mosquitto/mosquitto.conf" ]; then
    peelfleet broker init "$broker/mosquitto" --fleet demo --host "$host" --port "$port" --client-certificates
fi
files=$broker/mosquitto
install -m 600 "$files/clients/_cloud.crt" "$files/clients/_cloud.key" "$files/ca.crt" "$cloud"
install -m 600 "$files/clients/_fleet.crt" "$files/clients/_fleet.key" "$files/ca.crt" "$fleet"
