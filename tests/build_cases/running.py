"""RUN: what a command finds and what it leaves."""

from __future__ import annotations

from tests.build_cases.case import Case, F

CASES = (
    Case("run-writes", "FROM localhost/box\nRUN echo 1 >/a && mkdir -m 700 /d && ln -s a /l && chown 3:4 /d\n"),
    Case("run-removes", "FROM localhost/box\nRUN rm /etc/os-release && rm -r /home/user\nRUN mkdir /home/user\n"),
    Case("run-removes-what-it-made", "FROM localhost/box\nRUN echo 1 >/a; mkdir -p /d/e\nRUN rm -r /a /d\n"),
    Case("run-replaces-directory", "FROM localhost/box\nRUN rm -r /home/user && echo 1 >/home/user\n"),
    Case("run-replaces-directory-by-directory",
         "FROM localhost/box\nRUN rm -r /home/user && mkdir /home/user && touch /home/user/new\n"),
    Case("run-renames", "FROM localhost/box\nRUN mv /home/user /home/other && mv /etc/os-release /etc/x\n"),
    Case("run-modes",
         "FROM localhost/box\nRUN touch /s && chmod 4755 /s && mkdir /t && chmod 3777 /t && chmod 711 /root\n"),
    Case("run-hardlinks", "FROM localhost/box\nRUN echo 1 >/a && ln /a /b && mkdir /c && ln /a /c/d\n"),
    Case("run-hardlink-to-base", "FROM localhost/box\nRUN ln /etc/os-release /etc/other\n"),
    Case("run-fifo", "FROM localhost/box\nRUN mkfifo /f\n"),
    Case("run-nothing", "FROM localhost/box\nRUN true\n"),
    Case("run-metadata-only",
         "FROM localhost/box\nRUN chmod 600 /etc/os-release && chown 1:1 /srv 2>/dev/null; chown 1:1 /home\n"),
    Case("run-touch", "FROM localhost/box\nRUN touch -t 202001010000.00 /etc/os-release\n"),
    Case("run-exit-code", "FROM localhost/box\nRUN echo no && exit 3\n", fails="3"),
    Case("run-not-found", "FROM localhost/box\nRUN no-such-command\n", fails="127"),
    Case("run-exec-not-found", 'FROM localhost/box\nRUN ["/no/such"]\n', fails="/no/such"),
    Case("run-in-scratch", 'FROM scratch\nRUN ["/x"]\n', fails="/x"),
    Case("run-environment",
         "FROM localhost/box\nENV B=c\n"
         "RUN env | grep -v -e ^HOSTNAME -e ^SHLVL -e ^container -e ^BUILDAH | sort >/a\n"),
    Case("run-home-of-user",
         "FROM localhost/box\nUSER user\nRUN echo $HOME >/tmp/a\nUSER root\nRUN echo $HOME >/tmp/b\n"),
    Case("run-streams", "FROM localhost/box\nRUN read x; echo \"<$x>\" >/a; cat >/b\n"),
    Case("run-workdir", "FROM localhost/rich\nRUN pwd >/tmp/a\n", base="rich"),
    Case("run-umask", "FROM localhost/box\nRUN umask >/a; umask 077; touch /b; mkdir /c\n"),
    Case("run-devices",
         "FROM localhost/box\n"
         "RUN for d in null zero full random urandom; do test -c /dev/$d && echo $d; done >/a; echo x >/dev/null\n"),
    Case("run-proc", "FROM localhost/box\nRUN test -r /proc/self/status && test -d /sys/kernel && echo yes >/a\n"),
    Case("run-tmp-stays", "FROM localhost/box\nRUN echo 1 >/tmp/a; echo 2 >/var/b; echo 3 >/run/c\n"),
    Case("run-hosts-not-kept", "FROM localhost/box\nRUN cat /etc/hosts /etc/resolv.conf >/dev/null 2>&1; echo 1 >/a\n"),
    Case("run-sees-own-copy", "FROM localhost/box\nCOPY s /s\nRUN /s >/a\n",
         {"s": F("#!/bin/sh\necho ran $0\n", 0o755)}),
    Case("run-many-layers", "FROM localhost/box\n" + "".join(f"RUN echo {n} >>/a\n" for n in range(6))),
    Case("run-large-file",
         "FROM localhost/box\nRUN dd if=/dev/zero of=/z bs=65536 count=64 2>/dev/null; truncate -s 1M /sparse\n"),
    Case("run-network-none", "FROM localhost/box\nRUN --network=none ls /sys/class/net | tr '\\n' ' ' >/a\n",
         tree={"a": F("lo ")}),
    Case("mount-bind",
         "FROM localhost/box\nRUN --mount=type=bind,source=dir,target=/m cp /m/a /b; test -w /m/a || echo ro >/c\n",
         {"dir/a": "1"}),
    Case("mount-bind-file", "FROM localhost/box\nRUN --mount=type=bind,src=a,dst=/m cat /m >/b\n", {"a": "1"}),
    Case("mount-bind-context", "FROM localhost/box\nRUN --mount=type=bind,target=/m ls /m >/b\n", {"a": "1"}),
    Case("mount-bind-rw",
         "FROM localhost/box\nRUN --mount=type=bind,source=dir,target=/m,rw echo 2 >/m/new; ls /m >/b\n"
         "COPY dir /to\n", {"dir/a": "1"},
         differs={"to/new": "what is written to a mount of the context stays there with buildah; we drop it"}),
    Case("mount-bind-from-stage",
         "FROM localhost/box AS s\nRUN echo 1 >/a\nFROM localhost/box\n"
         "RUN --mount=type=bind,from=s,source=/a,target=/m cat /m >/b\n"),
    Case("mount-bind-from-image",
         "FROM localhost/box\nRUN --mount=type=bind,from=localhost/rich,source=/data,target=/m ls /m >/b\n",
         base="rich"),
    Case("mount-tmpfs", "FROM localhost/box\nRUN --mount=type=tmpfs,target=/t echo 1 >/t/a; ls /t >/b\n"),
    Case("mount-cache",
         "FROM localhost/box\nRUN --mount=type=cache,target=/c echo 1 >/c/a\n"
         "RUN --mount=type=cache,target=/c cat /c/a >/b\n"),
    Case("mount-cache-id",
         "FROM localhost/box\nRUN --mount=type=cache,id=x-1,target=/c echo 1 >/c/a\n"
         "RUN --mount=type=cache,id=x-1,target=/d,ro cat /d/a >/b\n"
         "RUN --mount=type=cache,id=x-2,target=/c ls /c >/e\n"),
    Case("mount-cache-mode",
         "FROM localhost/box\n"
         "RUN --mount=type=cache,id=y-1,target=/c,mode=0700,uid=1000,gid=1000 ls -ldn /c | cut -c1-10 "
         ">/b; stat -c %u:%g /c >>/b\n"),
    Case("mount-cache-from-stage",
         "FROM localhost/box AS s\nRUN mkdir /seed && echo 1 >/seed/a\nFROM localhost/box\n"
         "RUN --mount=type=cache,id=z-1,from=s,source=/seed,target=/c ls /c >/b\n"),
    Case("mount-secret", "FROM localhost/box\nRUN --mount=type=secret,id=s cat /run/secrets/s >/b\n",
         {"secret": "hush"}, flags=("--secret", "id=s,src=secret")),
    Case("mount-secret-target",
         "FROM localhost/box\n"
         "RUN --mount=type=secret,id=s,target=/x,mode=0444,uid=3,gid=4 stat -c '%a %u:%g' /x >/b; cat /x >>/b\n",
         {"secret": "hush"}, flags=("--secret", "id=s,src=secret")),
    Case("mount-secret-env", "FROM localhost/box\nRUN --mount=type=secret,id=e cat /run/secrets/e >/b\n",
         flags=("--secret", "id=e,env=THE_SECRET"), environment={"THE_SECRET": "from outside"}),
    Case("mount-secret-optional",
         "FROM localhost/box\nRUN --mount=type=secret,id=none test ! -e /run/secrets/none && echo 1 >/b\n"),
    Case("mount-secret-required",
         "FROM localhost/box\nRUN --mount=type=secret,id=none,required cat /run/secrets/none\n", fails="none"),
    Case("mount-unknown-type", "FROM localhost/box\nRUN --mount=type=magic,target=/m true\n", fails="magic"),
    Case("mount-several",
         "FROM localhost/box\n"
         "RUN --mount=type=bind,src=a,dst=/1 --mount=type=tmpfs,dst=/2 --mount=type=cache,id=w-1,dst=/3 "
         "cat /1 >/b; touch /2/x /3/y\n", {"a": "1"}),
)
