# A stand-in for the public image of Grafana, which no package brings; see grafana.py.
FROM stand-in/debian:bookworm
RUN install -d -o 472 -g 0 /var/lib/grafana
COPY grafana.py /usr/local/bin/
USER 472
ENTRYPOINT ["python3", "/usr/local/bin/grafana.py"]
