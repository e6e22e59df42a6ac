# A stand-in for the public image of Valkey: Debian's Redis 7.0 under Valkey's names.
FROM stand-in/debian:bookworm
RUN ln -s redis-cli /usr/bin/valkey-cli \
    && install -d -o 999 -g 999 /data
ARG IMAGE
ENV STAND_IN="$IMAGE: Debian's Redis 7.0"
COPY stand-in.sh valkey-server.sh /usr/local/bin/
WORKDIR /data
VOLUME /data
ENTRYPOINT ["/bin/sh", "/usr/local/bin/valkey-server.sh"]
