# A stand-in for the public image of HAProxy 2.8: Debian's HAProxy 2.6, started as that image starts it.
FROM stand-in/debian:bookworm
USER 99:99
STOPSIGNAL SIGUSR1
CMD ["/usr/sbin/haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
