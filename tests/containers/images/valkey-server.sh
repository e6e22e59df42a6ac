#!/bin/sh
# like Valkey's image, whose server is built without protected mode: what reaches a container is let in by its network
[ "$1" = valkey-server ] && shift && set -- redis-server "$@" --protected-mode no
exec /bin/sh /usr/local/bin/stand-in.sh "$@"
