# A stand-in for the public image of Prometheus 3: Debian's Prometheus 2.42, with that image's user and folder.
FROM stand-in/debian:bookworm
RUN apt-get update -qq \
    && apt-get install -qq --yes --no-install-recommends prometheus >/dev/null \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 65534 -g 65534 /prometheus
USER 65534
ENTRYPOINT ["/usr/bin/prometheus"]
