# A stand-in for NVIDIA's tritonserver image, for machines that reach no registry of images: Triton 2.51 of the pip wheel
# nvidia-pytriton, in the places where the real image has it. It is older than the release that its tag names, and has no
# GPU backends; ONNX files are served by exeunt's Python stand-in.
FROM python:3.11-slim-bookworm
COPY wheels/ /tmp/wheels/
RUN python3 -m pip install --no-cache-dir --no-deps --no-index --break-system-packages /tmp/wheels/*.whl \
    && found="$(python3 -c 'import importlib.util as u; print(u.find_spec("pytriton").submodule_search_locations[0])')" \
    && version="$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')" \
    && mkdir -p /opt/tritonserver/bin /opt/tritonserver/backends \
    && cp "$found/tritonserver/bin/tritonserver" /opt/tritonserver/bin/ \
    && cp -r "$found/tritonserver/backends/python" /opt/tritonserver/backends/ \
    && cp "$found/tritonserver/python_backend_stubs/$version/triton_python_backend_stub" /opt/tritonserver/backends/python/ \
    && mv "$found/../nvidia_pytriton.libs" /opt/tritonserver/lib \
    && chmod 755 /opt/tritonserver/bin/tritonserver /opt/tritonserver/backends/python/triton_python_backend_stub \
    && rm -r "$found" /tmp/wheels
COPY onnxruntime/ /opt/tritonserver/backends/onnxruntime/
ENV PATH=/opt/tritonserver/bin:${PATH} \
    LD_LIBRARY_PATH=/opt/tritonserver/lib
ARG IMAGE
ENV STAND_IN="$IMAGE: Triton 24.10 (server 2.51, nvidia-pytriton 0.7.0), no GPU"
COPY stand-in.sh /opt/nvidia/nvidia_entrypoint.sh
ENTRYPOINT ["/bin/sh", "/opt/nvidia/nvidia_entrypoint.sh"]
