/* Which of 51 entry points of the kernel does this process reach? One line for each: NAME reached|blocked ERRNO.
 *
 * Blocked is EPERM, ENOSYS or EACCES; whatever else the kernel says means that its code was reached. The calls are made
 * so that they do no harm where they are not blocked, but never run this as root outside a container.
 *
 * With the argument "32" the calls that a 64-bit filter could forget are made through the 32-bit gate (int 0x80).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *name, long result)
{
    int error = result < 0 ? errno : 0;
    int blocked = error == EPERM || error == ENOSYS || error == EACCES;
    printf("%s %s %d\n", name, blocked ? "blocked" : "reached", error);
    fflush(stdout);
}

static void try_socket(const char *name, int family, int kind, int protocol)
{
    long fd = socket(family, kind, protocol);
    say(name, fd);
    if (fd >= 0)
        close(fd);
}

/* Run in a child, whose answer is its errno; 0 is success. */
static void in_child(const char *name, int (*body)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(body());
    waitpid(child, &status, 0);
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    say(name, errno ? -1 : 0);
}

static int new_user(void) { return unshare(CLONE_NEWUSER) ? errno : 0; }
static int new_user_net(void) { return unshare(CLONE_NEWUSER | CLONE_NEWNET) ? errno : 0; }
static int nested_netfilter(void)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
        return errno;
    return socket(AF_NETLINK, SOCK_RAW, 12) < 0 ? errno : 0;
}
static int nested_packet(void)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
        return errno;
    return socket(17, SOCK_RAW, 0) < 0 ? errno : 0;
}
static int trace_me(void) { return syscall(SYS_ptrace, 0, 0, 0, 0) ? errno : 0; }
static int mount_tmpfs(void) { return mount("none", "/tmp", "tmpfs", 0, 0) ? errno : 0; }

static void push_key(void)
{
    /* Any terminal will do: a fresh pseudo-terminal is one. */
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY);
    int unlock = 0;
    if (master >= 0)
        ioctl(master, TIOCSPTLCK, &unlock);
    int slave = master >= 0 ? ioctl(master, 0x5441, O_RDWR | O_NOCTTY) : -1;
    char key = ' ';
    /* On no terminal at all the kernel says ENOTTY or EBADF: reached. The high half must not matter. */
    long plain = syscall(SYS_ioctl, slave, 0x5412L, &key);
    int plain_errno = errno;
    long wide = syscall(SYS_ioctl, slave, 0x100005412L, &key);
    if (plain < 0 && (wide >= 0 || errno != plain_errno))
        say("TIOCSTI", wide);
    else {
        errno = plain_errno;
        say("TIOCSTI", plain);
    }
}

static void entry_points(void)
{
    char data[256] = {0};
    long fd;

    try_socket("AF_ALG", 38, SOCK_SEQPACKET, 0);
    try_socket("AF_VSOCK", 40, SOCK_STREAM, 0);
    try_socket("AF_PACKET", 17, SOCK_RAW, 0);
    try_socket("AF_KEY", 15, SOCK_RAW, 2);
    try_socket("AF_RXRPC", 33, SOCK_DGRAM, 2);
    try_socket("AF_TIPC", 30, SOCK_STREAM, 0);
    try_socket("AF_XDP", 44, SOCK_RAW, 0);
    try_socket("AF_BLUETOOTH", 31, SOCK_RAW, 1);
    try_socket("AF_CAN", 29, SOCK_RAW, 1);
    try_socket("AF_SMC", 43, SOCK_STREAM, 0);
    try_socket("NETLINK_NETFILTER", AF_NETLINK, SOCK_RAW, 12);
    try_socket("NETLINK_XFRM", AF_NETLINK, SOCK_RAW, 6);
    try_socket("NETLINK_AUDIT", AF_NETLINK, SOCK_RAW, 9);
    try_socket("NETLINK_CRYPTO", AF_NETLINK, SOCK_RAW, 21);
    try_socket("SOCK_RAW", AF_INET, SOCK_RAW, 1);
    say("io_uring_setup", fd = syscall(425, 1, data));
    say("userfaultfd", syscall(323, 1));
    say("bpf", syscall(321, 0, data, sizeof data));
    say("perf_event_open", syscall(298, data, 0, -1, -1, 0));
    say("keyctl", syscall(SYS_keyctl, 0, -3, 0, 0, 0));
    say("add_key", syscall(SYS_add_key, "user", "probe", "x", 1, -3));
    say("request_key", syscall(SYS_request_key, "user", "probe", 0, -3));
    in_child("unshare_user", new_user);
    in_child("unshare_user_net", new_user_net);
    in_child("nested_netfilter", nested_netfilter);
    in_child("nested_packet", nested_packet);
    in_child("mount", mount_tmpfs);
    in_child("ptrace", trace_me);
    push_key();
    say("process_vm_readv", syscall(SYS_process_vm_readv, getpid(), 0, 0, 0, 0, 0));
    say("open_by_handle_at", syscall(SYS_open_by_handle_at, -1, data, 0));
    say("name_to_handle_at", syscall(SYS_name_to_handle_at, -1, "x", data, data, 0));
    say("fsopen", fd = syscall(430, "tmpfs", 0));
    say("open_tree", fd = syscall(428, -100, "/", 1));
    say("move_mount", syscall(429, -1, "", -1, "", 4));
    say("mount_setattr", syscall(442, -1, "", 0x1000, data, 32));
    say("pidfd_getfd", syscall(438, -1, 0, 0));
    say("fanotify_init", fd = syscall(SYS_fanotify_init, 0x200, 0));
    say("syslog", syscall(SYS_syslog, 10, 0, 0));
    say("setns", syscall(SYS_setns, -1, 0));
    say("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
    say("init_module", syscall(SYS_init_module, data, 0, ""));
    say("quotactl", syscall(SYS_quotactl, 0x80000100, 0, 0, 0));
    say("acct", syscall(SYS_acct, "/nonexistent"));
    say("modify_ldt", syscall(SYS_modify_ldt, 0, data, 16));
    say("vmsplice", syscall(SYS_vmsplice, -1, 0, 0, 0));
    say("memfd_secret", fd = syscall(447, 0));
    say("kcmp", syscall(SYS_kcmp, getpid(), getpid(), 0, 0, 0));
    say("lookup_dcookie", syscall(SYS_lookup_dcookie, 0L, data, sizeof data));
    say("mknod", mknod("/tmp/.probe-node", S_IFCHR | 0600, makedev(1, 3)));
    unlink("/tmp/.probe-node");
    errno = EPERM;
    say("setuid_gain", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) ? -1 : 0);
}

static long gate(long number, long first, long second, long third)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third) : "memory", "r8", "r9", "r10", "r11");
    if (result < 0 && result > -4096) {
        errno = -result;
        return -1;
    }
    return result;
}

static void entry_points_32(void)
{
    /* socketcall(2) takes its arguments from memory below 4 GiB. */
    unsigned *unix_socket = (unsigned *)0x10000000, *alg = unix_socket + 4;
    say("socket_unix", gate(359, 1, 1, 0));
    say("socket_alg", gate(359, 38, 5, 0));
    say("socket_vsock", gate(359, 40, 1, 0));
    say("unshare_user", gate(310, CLONE_NEWUSER, 0, 0));
    say("mount", gate(21, 0, 0, 0));
    say("keyctl", gate(288, 0, -3, 0));
    say("TIOCSTI", gate(54, 0, 0x5412, 0));
    if (syscall(SYS_mmap, unix_socket, 4096, 3, 0x32, -1, 0) != (long)unix_socket)
        return;
    unix_socket[0] = 1, unix_socket[1] = 1, unix_socket[2] = 0;
    alg[0] = 38, alg[1] = 5, alg[2] = 0;
    say("socketcall_unix", gate(102, 1, (long)unix_socket, 6));
    say("socketcall_setsockopt", gate(102, 14, 6, 31));
    say("getpid", gate(20, 0, 0, 0));
    /* x32: refused whatever the call (here getpid). */
    say("x32_getpid", syscall(0x40000000 + 39));
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "32"))
        entry_points_32();
    else
        entry_points();
    return 0;
}
