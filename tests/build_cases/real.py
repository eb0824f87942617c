"""Files as projects have them. What they install comes from the context, and the interpreters are small stand-ins."""

from __future__ import annotations

from tests.build_cases.case import Case, D, F, tar
from tests.build_cases.debs import repository

PYTHON = """# syntax=docker/dockerfile:1
ARG PYTHON_VERSION=3
FROM localhost/python:${PYTHON_VERSION} AS build
ENV PIP_NO_CACHE_DIR=1 \\
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements.txt .
RUN --mount=type=bind,source=wheels,target=/wheels \\
    pip install --no-index --find-links /wheels --target /install -r requirements.txt
COPY app/ app/
RUN python -m compileall app > build.log

FROM localhost/python:${PYTHON_VERSION}
LABEL org.opencontainers.image.title="app" \\
      org.opencontainers.image.licenses="MIT"
RUN addgroup -g 900 app && adduser -D -u 900 -G app -h /app app
COPY --from=build /install /usr/lib/python3/site-packages
COPY --from=build --chown=app:app /src/app /app
WORKDIR /app
USER app
ENV PYTHONUNBUFFERED=1
EXPOSE 8000
STOPSIGNAL SIGINT
ENTRYPOINT ["python", "-m", "app"]
CMD ["--bind", "0.0.0.0:8000"]
"""
PYTHON_FILES = {
    "requirements.txt": "# pinned\none==1\ntwo==2\n", "wheels/one-1.whl": "one", "wheels/two-2.whl": "two",
    "app/__main__.py": "print('app')\n", "app/sub/__init__.py": "", ".dockerignore": ".git\n**/__pycache__\n",
    "app/__pycache__/x.pyc": "x", ".git/config": "g",
}  # fmt: skip

NODE = """FROM localhost/node AS deps
WORKDIR /app
COPY package.json package-lock.json* ./
RUN --mount=type=cache,id=real-npm,target=/root/.npm npm ci --omit=dev
FROM localhost/node AS builder
WORKDIR /app
COPY --from=deps /app/node_modules ./node_modules
COPY . .
ENV NEXT_TELEMETRY_DISABLED 1
RUN npm run build
FROM localhost/node AS runner
WORKDIR /app
ENV NODE_ENV production
RUN addgroup -S -g 1001 nodejs
RUN adduser -S -u 1001 -G nodejs nextjs
COPY --from=builder /app/public ./public
COPY --from=builder --chown=nextjs:nodejs /app/dist ./dist
USER nextjs
EXPOSE 3000
ENV PORT 3000
CMD ["node", "dist/server.js"]
"""
NODE_FILES = {
    "package.json": '{"name": "app"}\n', "package-lock.json": "left-pad\nright-pad\n", "src/server.js": "serve()\n",
    "public/index.html": "<p>", "node_modules/old/x.js": "old",
    ".dockerignore": "node_modules\n.dockerignore\nContainerfile\n",
}  # fmt: skip

STATIC = """FROM localhost/box AS build
ARG CFLAGS="-O2 -static"
WORKDIR /usr/src/app
COPY Makefile *.c ./
RUN make() { sh ./Makefile "$@"; }; make CFLAGS="$CFLAGS" all && make install DESTDIR=/out
FROM scratch
COPY --from=build /out/ /
USER 65534:65534
ENTRYPOINT ["/usr/bin/app"]
"""
STATIC_FILES = {
    "Makefile": 'case "$2" in all) cat *.c >app; echo "$1" >>app;; *) :;; esac\n'
                'case "$1" in install) mkdir -p /out/usr/bin; install -m 755 app /out/usr/bin/app;; esac\n',
    "a.c": "int a;\n", "main.c": "int main;\n", "notes.txt": "no\n",
}  # fmt: skip

APT = """FROM localhost/debian AS build
RUN --mount=type=bind,source=repo,target=/repo \\
    echo 'deb [trusted=yes] file:/repo ./' >/etc/apt/sources.list \\
 && rm -rf /etc/apt/sources.list.d/* \\
 && apt-get update -q \\
 && apt-get install -y -q --no-install-recommends tiny-cc \\
 && rm -rf /var/lib/apt/lists/* /var/log/*.log /var/log/apt /var/cache/ldconfig /var/cache/apt
WORKDIR /src
COPY main.c .
RUN cc -static -o /app main.c
FROM scratch
COPY --from=build /app /app
COPY --from=build /usr/share/tiny-cc /licenses
ENTRYPOINT ["/app"]
"""

_CC = """#!/bin/sh
# cc -static -o OUTPUT SOURCE
{ echo '#!/bin/sh'; sed 's/^/# /' "$4"; } >"$3"
chmod 755 "$3"
"""
REPOSITORY = {f"repo/{path}": data for path, data in repository({
    "tiny-cc": {"usr/bin/cc": F(_CC, 0o755), "usr/share/tiny-cc/LICENSE": F("free\n")}}).items()}  # fmt: skip

CASES = (
    Case("real-python", PYTHON, PYTHON_FILES, base="python", differs={
        "annotations": "buildah calls the base by the first of its names, we by that in the file"}),
    Case("real-python-other-version", PYTHON, PYTHON_FILES, base="python",
         flags=("--build-arg", "PYTHON_VERSION=latest", "--target", "build")),
    Case("real-node", NODE, NODE_FILES, base="node"),
    Case("real-node-builder", NODE, NODE_FILES, base="node", flags=("--target", "builder")),
    Case("real-static-c", STATIC, STATIC_FILES),
    Case("real-static-c-apt", APT, {"main.c": "int main(void) { return 0; }\n", **REPOSITORY}, base="debian"),
    Case("real-web-server", """FROM localhost/box
RUN set -eux; \\
    addgroup -S -g 101 www; \\
    adduser -S -D -H -u 101 -h /var/cache/www -s /sbin/nologin -G www www; \\
    mkdir -p /var/log/www /var/cache/www; \\
    ln -sf /dev/stdout /var/log/www/access.log; \\
    ln -sf /dev/stderr /var/log/www/error.log; \\
    chown -R www:www /var/cache/www
COPY conf/ /etc/www/
COPY --chown=www:www html /usr/share/www/html
COPY entrypoint.sh /
RUN chmod +x /entrypoint.sh
EXPOSE 80 443
STOPSIGNAL SIGQUIT
VOLUME ["/usr/share/www/html"]
ENTRYPOINT ["/entrypoint.sh"]
CMD ["httpd", "-f", "-h", "/usr/share/www/html"]
""", {"conf/www.conf": "A:*\n", "conf/mime/types": "text\n", "html/index.html": "<p>",
      "html/img/a.png": b"\x89PNG", "entrypoint.sh": "#!/bin/sh\nexec \"$@\"\n"}),
    Case("real-database", """FROM localhost/box
ENV PGDATA /var/lib/db/data
RUN mkdir -p "$PGDATA" && chown -R 999:999 "$PGDATA" && chmod 1777 "$PGDATA"
VOLUME /var/lib/db/data
COPY docker-entrypoint.sh /usr/local/bin/
RUN ln -s usr/local/bin/docker-entrypoint.sh /
COPY initdb.d/*.sql /docker-entrypoint-initdb.d/
ENTRYPOINT ["docker-entrypoint.sh"]
STOPSIGNAL SIGINT
EXPOSE 5432
CMD ["db"]
""", {"docker-entrypoint.sh": F("#!/bin/sh\n", 0o755), "initdb.d/1.sql": "a", "initdb.d/2.sql": "b",
      "initdb.d/x.md": "c"}),
    Case("real-go", """FROM localhost/box AS build
WORKDIR /go/src/app
COPY go.mod go.sum ./
RUN --mount=type=cache,id=real-go-mod,target=/go/pkg/mod cat go.sum >/go/pkg/mod/downloaded
COPY . .
ARG VERSION=dev
RUN --mount=type=cache,id=real-go-mod,target=/go/pkg/mod --mount=type=cache,id=real-go-build,target=/root/.cache \\
    { cat main.go /go/pkg/mod/downloaded; echo "-X main.version=$VERSION"; } >/app && chmod 755 /app
FROM scratch
COPY --from=build /etc/passwd /etc/group /etc/
COPY --from=build /app /app
USER user
ENTRYPOINT ["/app"]
""", {"go.mod": "module app\n", "go.sum": "sum\n", "main.go": "package main\n", "internal/x.go": "package x\n"},
         flags=("--build-arg", "VERSION=1.2.3")),
    Case("real-rust-workspace", """FROM localhost/box AS chef
WORKDIR /build
FROM chef AS planner
COPY . .
RUN find . -name Cargo.toml | sort | xargs cat >recipe.json
FROM chef AS builder
COPY --from=planner /build/recipe.json recipe.json
RUN cp recipe.json cooked
COPY . .
RUN cat cooked crates/*/src/*.rs >target
FROM localhost/box
COPY --from=builder /build/target /usr/local/bin/server
HEALTHCHECK --interval=30s --timeout=3s CMD wget -q -O- localhost:8080/health || exit 1
CMD ["server"]
""", {"Cargo.toml": "[workspace]\n", "crates/a/Cargo.toml": "a\n", "crates/a/src/lib.rs": "fn a() {}\n",
      "crates/b/Cargo.toml": "b\n", "crates/b/src/main.rs": "fn main() {}\n"}, docker=True),
    Case("real-java", """FROM localhost/box AS layers
WORKDIR /x
COPY target/*.tar app.tar
RUN tar -xf app.tar && rm app.tar
FROM localhost/box
RUN adduser -D -u 1001 spring
USER spring:spring
WORKDIR /application
COPY --from=layers --chown=spring /x/dependencies/ ./
COPY --from=layers --chown=spring /x/application/ ./
ENV JAVA_OPTS="-Xmx64m -Dx='y z'"
ENTRYPOINT java $JAVA_OPTS -jar app
""", {"target/app.tar": tar({"dependencies": D(), "dependencies/lib.jar": "lib", "application": D(),
      "application/App.class": F("app", 0o600)})}),
    Case("real-cron", """FROM localhost/box
SHELL ["/bin/sh", "-euxc"]
COPY crontab /etc/crontabs/root
COPY scripts /usr/local/bin/
RUN chmod 0755 /usr/local/bin/*.sh; \\
    for f in /usr/local/bin/*.sh; do ln -s "$f" "${f%.sh}"; done
WORKDIR /root
CMD ["crond", "-f"]
""", {"crontab": F("* * * * * backup\n", 0o600), "scripts/backup.sh": "#!/bin/sh\n",
      "scripts/clean.sh": "#!/bin/sh\n"}, docker=True),
    Case("real-dev-environment", """ARG VARIANT=latest
FROM localhost/box:${VARIANT}
ARG USERNAME=dev
ARG USER_UID=2000
ARG USER_GID=$USER_UID
RUN addgroup -g $USER_GID $USERNAME \\
    && adduser -D -u $USER_UID -G $USERNAME $USERNAME \\
    && mkdir -p /etc/sudoers.d \\
    && echo $USERNAME ALL=\\(root\\) NOPASSWD:ALL > /etc/sudoers.d/$USERNAME \\
    && chmod 0440 /etc/sudoers.d/$USERNAME
USER $USERNAME
WORKDIR /home/$USERNAME
RUN echo 'alias ll="ls -l"' >> .profile
COPY --chown=$USERNAME dotfiles/ .
ONBUILD ARG EXTRA
ONBUILD RUN echo $EXTRA
""", {"dotfiles/.vimrc": "set nu\n", "dotfiles/.config/x": F("1", 0o600)}, docker=True),
    Case("real-multi-arch", """FROM --platform=$BUILDPLATFORM localhost/box AS build
ARG TARGETPLATFORM
ARG BUILDPLATFORM
RUN echo "I am running on $BUILDPLATFORM, building for $TARGETPLATFORM" > /log
FROM localhost/box
COPY --from=build /log /log
"""),
    Case("real-heredocs", """# syntax=docker/dockerfile:1.4
FROM localhost/box
RUN <<EOT
set -e
mkdir -p /etc/app
adduser -D -u 700 svc
EOT
COPY --chown=svc <<-"EOT" /etc/app/start.sh
	#!/bin/sh
	exec "$@"
EOT
COPY <<nginx.conf <<app.env /etc/app/
listen ${PORT:-80};
nginx.conf
MODE=prod
app.env
RUN chmod 755 /etc/app/start.sh
""", tree={
        "etc/app": D(), "etc/app/start.sh": F('#!/bin/sh\nexec "$@"\n', 0o755, 700, 700),
        "etc/app/nginx.conf": "listen 80;\n",
        "etc/app/app.env": "MODE=prod\n", "home/svc": D(0o755, 700, 700), "etc/passwd": F("*"), "etc/group": F("*")}),
)  # fmt: skip
