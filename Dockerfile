# syntax=docker/dockerfile:1
# Two stages of one base: build with everything, run with production dependencies only. glibc, because the QUIC library's binaries need it.

# The one image from elsewhere, by its digest: Node 24.18.0. .github/dependabot.yml proposes newer ones; by hand, the digest is what
#   docker buildx imagetools inspect node:24-bookworm-slim --format '{{.Manifest.Digest}}'
# prints. A stage and no ARG, because Dependabot reads no digest of an ARG.
FROM node:24-bookworm-slim@sha256:6f7b03f7c2c8e2e784dcf9295400527b9b1270fd37b7e9a7285cf83b6951452d AS base

FROM base AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
# The QUIC library is an optional peer of the package, which `prune` removes; the image has it, with the binary of its own platform only.
RUN npm run build \
 && chmod 0755 dist/main.js \
 && mv node_modules/@currentspace/http3 /tmp/http3 \
 && npm prune --omit=dev --omit=optional \
 && mkdir -p node_modules/@currentspace && mv /tmp/http3 node_modules/@currentspace/http3 \
 && case "$(uname -m)" in x86_64) keep=linux-x64 ;; aarch64) keep=linux-arm64 ;; *) keep=none ;; esac \
 && find node_modules/@currentspace/http3 -name '*.node' ! -name "*${keep}*" -delete

FROM base
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sallyport" \
      org.opencontainers.image.description="Cloud-side mTLS gateway for fleets of edge nodes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
# An allocator that needs a little less memory for many sessions (docs/performance.md). A bare name is looked up where the
# system keeps its libraries, whatever the platform.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libjemalloc2 \
 && rm -rf /var/lib/apt/lists/*
ENV NODE_ENV=production \
    LD_PRELOAD=libjemalloc.so.2 \
    SALLYPORT_SECRET_STORE_PATH=/var/lib/sallyport \
    SALLYPORT_ADMIN_HOST=0.0.0.0 \
    SALLYPORT_HEALTH_FILE=/run/sallyport/ready
WORKDIR /app
# Named volumes take over owner and mode of these folders.
RUN install -d -o 65532 -g 65532 -m 0700 /var/lib/sallyport /var/lib/edge /run/join /run/sallyport \
 && ln -s /app/dist/main.js /usr/local/bin/sallyport
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
USER 65532:65532
VOLUME /var/lib/sallyport
EXPOSE 10002/tcp 10000/tcp 10001/udp 10004/tcp 10005/tcp 10005/udp 10010/tcp
# The gateway writes the file every 5 s while it is ready; to start Node for a question would cost fifty times as much.
HEALTHCHECK --interval=10s --timeout=6s --start-period=15s CMD ["sh", "-c", "test -n \"$(find /run/sallyport/ready -mmin -0.25)\""]
# Node's permission model: these folders, no other process, no worker, no native library. More: NODE_OPTIONS=--allow-fs-read=FOLDER,
# and --allow-addons for QUIC. Of /proc single files, because /proc/self/root is the whole file system.
# V8's young generation, MB: 36.8 KB of memory a session instead of 42.7, for more CPU in a flood (docs/performance.md).
ENTRYPOINT ["node", "--permission", \
 "--allow-fs-read=/app", \
 "--allow-fs-read=/etc/sallyport", \
 "--allow-fs-read=/etc/sallyport-nats", \
 "--allow-fs-read=/var/run/secrets/kubernetes.io/serviceaccount", \
 "--allow-fs-read=/run/join", \
 "--allow-fs-read=/var/lib/sallyport", "--allow-fs-write=/var/lib/sallyport", \
 "--allow-fs-read=/var/lib/edge", "--allow-fs-write=/var/lib/edge", \
 "--allow-fs-read=/run/sallyport", "--allow-fs-write=/run/sallyport", \
 "--allow-fs-read=/proc/1/stat", \
 "--allow-fs-read=/proc/self/fd", \
 "--allow-fs-read=/proc/self/limits", \
 "--allow-fs-read=/proc/self/ns/pid", \
 "--allow-fs-read=/proc/self/stat", \
 "--allow-fs-read=/proc/self/status", \
 "--allow-fs-read=/proc/sys/kernel/random/boot_id", \
 "--max-semi-space-size=8", \
 "dist/main.js"]
CMD ["serve"]
