#!/bin/sh
# like NVIDIA's: says what it is, then becomes the command
echo "stand-in for a tritonserver image: Triton 2.51 (nvidia-pytriton 0.7.0), no GPU" >&2
exec "$@"
