# Debian's packages for arm64 as an image for arm64: `docker import` of older engines would call it this machine's.
FROM scratch
ADD base.tar /
