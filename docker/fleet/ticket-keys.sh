#!/bin/bash
# Changes a file of ticket keys (sslecho's --ticket-keys) as a rotation needs it, all of it at once. After each step every host
# gets the file, then SIGHUP, before the next step begins.
#
#	ticket-keys.sh new FILE        makes the file with one key, unless it is there
#	ticket-keys.sh add FILE        a new key at the end: the hosts learn to decrypt with it
#	ticket-keys.sh promote FILE    the last key to the front: the hosts encrypt with it
#	ticket-keys.sh drop FILE       the last key goes: when the tickets of it have expired
set -euo pipefail
umask 027
usage() {
	echo "usage: ${0##*/} new|add|promote|drop FILE" >&2
	exit 2
}
[ $# = 2 ] || usage
step=$1 file=$2
if [ "$step" = new ] && [ -e "$file" ]; then
	exit 0
fi
keys=()
if [ "$step" != new ]; then
	mapfile -t keys <"$file"
fi
last=$((${#keys[@]} - 1))
case $step in
new | add)
	keys+=("$(openssl rand -base64 48)")
	;;
promote | drop)
	if [ "$last" -lt 1 ]; then
		echo "$file has one key alone: there is nothing to $step; add one first" >&2
		exit 1
	fi
	key=${keys[$last]}
	unset "keys[$last]"
	if [ "$step" = promote ]; then
		keys=("$key" "${keys[@]}")
	fi
	;;
*) usage ;;
esac
work=$(mktemp "$file.XXXXXX")
trap 'rm -f "$work"' EXIT
printf '%s\n' "${keys[@]}" >"$work"
chmod 640 "$work"
mv "$work" "$file"
trap - EXIT
