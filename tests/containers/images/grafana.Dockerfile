# A stand-in for the public image of Grafana, which no package brings; see grafana.py.
FROM stand-in/debian:bookworm
RUN install -d -o 472 -g 0 /var/lib/grafana
ARG IMAGE
ENV STAND_IN="$IMAGE: looks for the files that Grafana would read, and draws nothing"
COPY stand-in.sh grafana.py /usr/local/bin/
USER 472
ENTRYPOINT ["/bin/sh", "/usr/local/bin/stand-in.sh", "python3", "/usr/local/bin/grafana.py"]
