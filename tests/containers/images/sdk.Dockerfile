# A stand-in for NVIDIA's SDK image: the last tritonclient wheel that carries perf_analyzer, and what that links to.
FROM python:3.11-slim-bookworm
RUN python3 -m pip install -q --no-cache-dir "tritonclient[grpc,http]==2.49.0" "numpy<2" nvidia-cuda-runtime-cu12==12.9.79 \
    && find /usr/local/lib -name libcudart.so.12 -exec mv {} /usr/local/lib/ \; \
    && ldconfig
ARG IMAGE
ENV STAND_IN="$IMAGE: perf_analyzer of the tritonclient 2.49 wheel"
COPY stand-in.sh /opt/nvidia/nvidia_entrypoint.sh
ENTRYPOINT ["/bin/sh", "/opt/nvidia/nvidia_entrypoint.sh"]
