# A stand-in for the public image of HAProxy 2.8: Debian's HAProxy 2.6, started as that image starts it.
FROM stand-in/debian:bookworm
ARG IMAGE
ENV STAND_IN="$IMAGE: Debian's HAProxy 2.6"
COPY stand-in.sh /usr/local/bin/
USER 99:99
STOPSIGNAL SIGUSR1
ENTRYPOINT ["/bin/sh", "/usr/local/bin/stand-in.sh"]
CMD ["/usr/sbin/haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
