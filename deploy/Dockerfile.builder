# The registry in a container that also builds images:
#
#   make image-builder
#   docker run -d -p 5000:5000 --restart=always --name registry --privileged -v slipway:/var/lib/slipway slipway-builder
#   docker exec registry slipway build https://git.example.com/team/cool-app.git
#
# --privileged: builds make namespaces, mounts, rules of the network and control
# groups; the engine's profiles for seccomp and AppArmor refuse mounts, and /sys and
# /proc/sys are read-only without it. Whoever can make this server build is
# therefore as trusted as root of the host should be: keep the port's level below
# admin, as it is.
#
# The volume: images, and the build cache with them, are beyond the container, and
# on a file system that overlayfs can stand on. The container's own can't.
#
# Anyone who reaches the port may pull and push, as with registry:2; building is for
# `docker exec`, unless -e SLIPWAY_ANONYMOUS=admin lets everybody do everything.
# Publish the port on an address that only your network reaches:
# -p 10.0.0.5:5000:5000
#
# `make image-builder` builds this file with the programs and Debian beside it. For
# serving alone there is the image of deploy/Dockerfile, which needs no rights.
FROM scratch
ADD root.tar /
COPY slipway buildkitd slipway-runc slipway-bake /usr/local/bin/
VOLUME /var/lib/slipway
EXPOSE 5000
# Settings are variables, so that -e and flags after the image's name change them.
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    SLIPWAY_LISTEN=0.0.0.0:5000 \
    SLIPWAY_DATA=/var/lib/slipway \
    SLIPWAY_HTTP=allow \
    SLIPWAY_ANONYMOUS=push
ENTRYPOINT ["slipway", "serve"]
