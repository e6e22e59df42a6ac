#!/bin/sh
# every stand-in's log begins with what it is; then it becomes the command
echo "stand-in for $STAND_IN" >&2
exec "$@"
