# In place of NVIDIA's server and SDK images for arm64: PyPI has neither Triton nor perf_analyzer for it. Only the places
# and the two files that the Dockerfile looks for are there, empty, so that all that it adds to those images is built.
FROM python:3.11-slim-bookworm
RUN mkdir -p /opt/tritonserver/backends/python \
    && touch /opt/tritonserver/backends/python/libtriton_python.so \
    && install -D -m 755 /dev/null /usr/local/bin/perf_analyzer
