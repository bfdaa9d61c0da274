#!/bin/sh
# A program for `socks6 server --auth-command`: it knows the users of an htpasswd file. Needs jq and htpasswd (apache2-utils).
#
# socks6 server --listen mixed://127.0.0.1:1080 --auth-command 'examples/auth_command.sh users.htpasswd'
#
# The password goes to htpasswd's standard input, where no process list shows it.
while read -r question; do
    id=$(printf '%s' "$question" | jq .id)
    name=$(printf '%s' "$question" | jq -r .name)
    if printf '%s' "$question" | jq -j .password | htpasswd -vi -- "$1" "$name" >/dev/null 2>&1; then
        echo "{\"id\": $id, \"ok\": true}"
    else
        echo "{\"id\": $id, \"ok\": false}"
    fi
done
