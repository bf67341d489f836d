# The registry in a container that also builds images:
#
#   make image-builder
#   docker run -d -p 5000:5000 --restart=always --name registry --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined --cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup -v slipway:/var/lib/slipway slipway-builder
#   docker exec registry slipway build https://git.example.com/team/cool-app.git
#
# Builds make namespaces and mounts (SYS_ADMIN), interfaces and rules of the network
# (NET_ADMIN) and switch packet forwarding on (/proc/sys); the engine's profiles
# forbid mounts to anybody. Limits of builds, and runc, need control groups that can
# be written. --privileged gives all that too, and every device with it. Whoever can
# make this server build is as trusted as root of the host should be.
#
# The volume: images, and the build cache with them, are beyond the container, and
# on a file system that overlayfs can stand on. The container's own can't.
#
# Building is for `docker exec`, and for accounts that a rule lets build. What else
# there is to say is in deploy/Dockerfile: SLIPWAY_EXTERNAL_URL, and the first
# password in `docker logs`.
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
    SLIPWAY_DATA=/var/lib/slipway
ENTRYPOINT ["slipway", "serve"]
