# Three images from one file; docker-compose.yml builds them:
#   server  Triton + exeunt's core and backends; no torch, no compiler
#   perf    Triton's SDK (perf_analyzer) + exeunt's client
#   export  exeunt's exporter, without torch: fills the repository volume; last, because an engine without BuildKit builds
#           every stage before the one that is asked for
#
# A new Triton release is one change: TRITON_TAG in .env.example and here. Not before 25.07: older servers have known
# remote code execution (CVE-2025-23310 and others). A tag may end in a digest, 26.11-py3@sha256:..., the SDK's likewise.
ARG TRITON_TAG=26.11-py3
ARG TRITON_SDK_TAG=26.11-py3-sdk
ARG PYTHON_TAG=3.12-slim-bookworm

FROM python:${PYTHON_TAG} AS wheel
WORKDIR /source
COPY deploy/requirements-build.txt ./
RUN python3 -m pip install --no-cache-dir --require-hashes -r requirements-build.txt
COPY pyproject.toml build_backend.py README.md LICENSE ./
COPY exeunt exeunt
COPY export export
COPY client client
COPY python_backends python_backends
RUN EXEUNT_RELEASE=1 python3 -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . ./client

FROM nvcr.io/nvidia/tritonserver:${TRITON_TAG} AS server
# Ubuntu 24.04 guards its own Python; in an image there is only one user of it
ENV PIP_BREAK_SYSTEM_PACKAGES=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    MALLOC_ARENA_MAX=2 \
    EXEUNT_STATE_DIR=/state
COPY deploy/requirements-server.txt constraints.txt /tmp/exeunt/
COPY --from=wheel /wheels /tmp/exeunt/wheels
# mode "engine" runs the members by onnxruntime's Python package: onnxruntime, or onnxruntime-gpu for this image's CUDA
ARG ENGINE_PACKAGE=""
# the sum tells this image's Python backend from a former one's in a volume (exeunt/serving/checks/python_backend.py);
# the backends are linked, not copied: one version of exeunt per image. The stand-in for onnxruntime stays out: this
# image has NVIDIA's native backend. The import at the end fails the build if the image's Python does not fit
RUN python3 -m pip install --no-cache-dir --require-hashes -r /tmp/exeunt/requirements-server.txt \
    && python3 -m pip install --no-cache-dir --no-deps --no-index /tmp/exeunt/wheels/*.whl \
    && if [ -n "${ENGINE_PACKAGE}" ]; then \
         python3 -m pip install --no-cache-dir -c /tmp/exeunt/constraints.txt "${ENGINE_PACKAGE}" || exit 1; \
       fi \
    && rm -r /tmp/exeunt \
    && for backend in exit_controller exit_stream vote; do \
         ln -s "$(python3 -c 'import exeunt_backends as b; print(b.__path__[0])')/$backend" \
               "/opt/tritonserver/backends/$backend" || exit 1; \
         test -f "/opt/tritonserver/backends/$backend/model.py" || exit 1; \
       done \
    && install -d -o 1000 -g 1000 /models /state \
    && sha256sum /opt/tritonserver/backends/python/libtriton_python.so >/opt/tritonserver/python-backend.sha256 \
    && cp /opt/tritonserver/python-backend.sha256 /opt/tritonserver/backends/python/ \
    && chown -R 1000:1000 /opt/tritonserver/backends/python \
    && python3 -c "import exeunt.serving.container, exeunt.serving.probe"
# triton-server, who owns nothing but the state and the Python backend: Triton 2.51 sets the execute bit of its stub at
# every start, whether it is set or not, and fails where it may not
USER 1000:1000
EXPOSE 8000 8001 8002
# the image's own ENTRYPOINT stays: it prints the driver's and CUDA's compatibility, then replaces itself by CMD
CMD ["python3", "-m", "exeunt.serving.container"]
HEALTHCHECK --interval=10s --timeout=20s --retries=3 --start-period=600s \
    CMD ["python3", "-m", "exeunt.serving.probe", "/models/repository"]
STOPSIGNAL SIGTERM

FROM nvcr.io/nvidia/tritonserver:${TRITON_SDK_TAG} AS perf
ENV PIP_BREAK_SYSTEM_PACKAGES=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib
COPY deploy/requirements-perf.txt /tmp/exeunt/
COPY --from=wheel /wheels /tmp/exeunt/wheels
# without exeunt-client's dependencies: this image's tritonclient and perf_analyzer belong together
RUN python3 -m pip install --no-cache-dir --no-deps --no-index /tmp/exeunt/wheels/*.whl \
    && python3 -m pip install --no-cache-dir --require-hashes -r /tmp/exeunt/requirements-perf.txt \
    && rm -r /tmp/exeunt \
    && install -d -o 1000 -g 1000 /results \
    && command -v perf_analyzer
USER 1000:1000
WORKDIR /results
CMD ["exeunt", "perf", "--help"]

FROM python:${PYTHON_TAG} AS export
ENV PYTHONUNBUFFERED=1 \
    HOME=/tmp
# "torch" exports torch modules, too. PyPI's torch brings CUDA's libraries, which an export does not need: name an index
# with CPU builds, which saves gigabytes
ARG EXPORT_EXTRA=export
ARG PIP_EXTRA_INDEX_URL=""
COPY deploy/requirements-export.txt constraints.txt /tmp/exeunt/
COPY --from=wheel /wheels /tmp/exeunt/wheels
# exeunt is installed with what is there alone: the build fails if a requirement of its extras is not in the file. What
# an EXPORT_EXTRA brings beyond it has its pins, and no hashes: torch differs from index to index
RUN python3 -m pip install --no-cache-dir --require-hashes -r /tmp/exeunt/requirements-export.txt \
    && python3 -m pip install --no-cache-dir --no-index -c /tmp/exeunt/constraints.txt \
        --find-links /tmp/exeunt/wheels "exeunt[cli,engine,export]" \
    && if [ "${EXPORT_EXTRA}" != export ]; then \
         python3 -m pip install --no-cache-dir -c /tmp/exeunt/constraints.txt --find-links /tmp/exeunt/wheels \
             "exeunt[${EXPORT_EXTRA}]" || exit 1; \
       fi \
    && rm -r /tmp/exeunt \
    && install -d -o 1000 -g 1000 /models
COPY deploy/fill_repository.py /opt/exeunt/
# a checkout under umask 077 is its owner's alone, and so would be the copy
RUN chmod -R a+rX /opt/exeunt
USER 1000:1000
CMD ["python3", "/opt/exeunt/fill_repository.py", "/models"]
