#!/bin/sh
# like Valkey's image, whose server is built without protected mode: what reaches a container is let in by its network
[ "$1" = valkey-server ] && shift && exec redis-server "$@" --protected-mode no
exec "$@"
