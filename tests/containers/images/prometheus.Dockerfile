# A stand-in for the public image of Prometheus 3: Debian's Prometheus 2.42, with that image's user and folder.
FROM stand-in/debian:bookworm
RUN apt-get update -qq \
    && apt-get install -qq --yes --no-install-recommends prometheus >/dev/null \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 65534 -g 65534 /prometheus
ARG IMAGE
ENV STAND_IN="$IMAGE: Debian's Prometheus 2.42"
COPY stand-in.sh /usr/local/bin/
USER 65534
ENTRYPOINT ["/bin/sh", "/usr/local/bin/stand-in.sh", "/usr/bin/prometheus"]
