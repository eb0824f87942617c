/* What the kernel answers at single doors: one line each, NAME ERRNO (0: it opened). The argument chooses the doors. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *name, long number, long result)
{
    if (number >= 0)
        printf("%s-%ld %d\n", name, number, result < 0 ? errno : 0);
    else
        printf("%s %d\n", name, result < 0 ? errno : 0);
    fflush(stdout);
}

/* The best answer of the three kinds of sockets that a family may have. */
static void families(void)
{
    static const int kinds[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET};
    for (int family = 0; family <= 45; family++) {
        int best = EPERM;
        for (int index = 0; index < 4; index++) {
            int fd = socket(family, kinds[index], 0);
            int error = fd < 0 ? errno : 0;
            if (fd >= 0)
                close(fd);
            if (error != EPERM && error != ENOSYS && error != EACCES)
                best = error;
            if (!error)
                break;
        }
        errno = best;
        say("family", family, best ? -1 : 0);
    }
    for (int protocol = 0; protocol <= 23; protocol++) {
        int fd = socket(AF_NETLINK, SOCK_RAW, protocol);
        say("netlink", protocol, fd);
        if (fd >= 0)
            close(fd);
    }
}

static void wait_for(const char *name, long pid)
{
    if (pid == 0)
        _exit(0);
    say(name, -1, pid);
    if (pid > 0)
        waitpid(pid, NULL, 0);
}

static void user_namespaces(void)
{
    static const unsigned long kinds[] = {
        CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP,
    };
    unsigned long long arguments[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    wait_for("fork", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    wait_for("clone-user", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
    wait_for("clone3-user", syscall(435, arguments, sizeof arguments));
    for (unsigned index = 0; index < sizeof kinds / sizeof *kinds; index++) {
        pid_t child = fork();
        if (child == 0) {
            say("unshare", (long)index, unshare(kinds[index]));
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
}

/* TIOCSTI and TIOCLINUX with a clean number and with rubbish in its high half, which the kernel does not look at. */
static void terminal(void)
{
    static const char *const places[] = {"/dev/tty", "/dev/console", "/dev/pts/0", "stdin"};
    for (int index = 0; index < 4; index++) {
        char key[2] = {'#', 0}, paste[2] = {3, 0};
        int fd = index < 3 ? open(places[index], O_RDWR | O_NOCTTY) : 0;
        if (fd < 0)
            continue;
        say("sti", index, syscall(SYS_ioctl, fd, 0x5412L, key));
        say("sti-wide", index, syscall(SYS_ioctl, fd, 0x100005412L, key));
        say("linux", index, syscall(SYS_ioctl, fd, 0x541cL, paste));
        say("linux-wide", index, syscall(SYS_ioctl, fd, 0x123400000541cL, paste));
    }
}

/* The caller's key, whose number is the argument: read, searched, linked, described; and new keys and keyrings. */
static void keys(long key)
{
    char data[256];
    say("read", -1, syscall(SYS_keyctl, 11, key, data, sizeof data));
    say("describe", -1, syscall(SYS_keyctl, 6, key, data, sizeof data));
    say("link", -1, syscall(SYS_keyctl, 8, key, -2));
    say("search", -1, syscall(SYS_keyctl, 10, -3, "user", "rootless-test", 0));
    say("search-user", -1, syscall(SYS_keyctl, 10, -4, "user", "rootless-test", 0));
    say("request", -1, syscall(SYS_request_key, "user", "rootless-test", 0, -3));
    say("add", -1, syscall(SYS_add_key, "user", "mine", "x", 1, -3));
}

static long gate(long number, long first, long second, long third)
{
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(first), "c"(second), "d"(third)
                     : "memory", "r8", "r9", "r10", "r11");
    if (result < 0 && result > -4096) {
        errno = -result;
        return -1;
    }
    return result;
}

/* The doors of the other two interfaces of a 64-bit kernel of x86: int 0x80 and x32. */
static void other_interfaces(void)
{
    say("getpid-i386", -1, gate(20, 0, 0, 0));
    say("alg-i386", -1, gate(359, 38, 5, 0));
    say("vsock-i386", -1, gate(359, 40, 1, 0));
    say("unshare-i386", -1, gate(310, CLONE_NEWUSER, 0, 0));
    say("mount-i386", -1, gate(21, 0, 0, 0));
    say("keyctl-i386", -1, gate(288, 0, -3, 0));
    say("bpf-i386", -1, gate(357, 0, 0, 0));
    say("alg-x32", -1, syscall(0x40000000 + 41, 38, 5, 0));
    say("unshare-x32", -1, syscall(0x40000000 + 272, CLONE_NEWUSER));
    say("getpid-x32", -1, syscall(0x40000000 + 39));
}

/* What a process shows that is not a program of the container: its descriptors beyond 2, its environment, itself. */
static int plunder(const char *pid)
{
    char path[300], target[4096];
    int loot = 0;
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    DIR *listed = opendir(path);
    for (struct dirent *entry; listed && (entry = readdir(listed));) {
        if (!isdigit(entry->d_name[0]) || atoi(entry->d_name) <= 2)
            continue;
        snprintf(path, sizeof path, "/proc/%s/fd/%s", pid, entry->d_name);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length >= 0) {
            target[length] = 0;
            printf("descriptor %s %s %s\n", pid, entry->d_name, target);
            loot++;
        }
    }
    if (listed)
        closedir(listed);
    snprintf(path, sizeof path, "/proc/%s/environ", pid);
    int fd = open(path, O_RDONLY);
    ssize_t length = fd >= 0 ? read(fd, target, sizeof target) : -1;
    if (length > 0 && memmem(target, (size_t)length, "HOST_SECRET", 11)) {
        printf("environment %s\n", pid);
        loot++;
    }
    if (fd >= 0)
        close(fd);
    if (!ptrace(PTRACE_SEIZE, atoi(pid), 0, 0)) {
        snprintf(path, sizeof path, "/proc/%s/exe", pid);
        length = readlink(path, target, sizeof target - 1);
        target[length > 0 ? length : 0] = 0;
        if (strstr(target, "python")) {
            printf("traced %s %s\n", pid, target);
            loot++;
        }
        if (!ptrace(PTRACE_INTERRUPT, atoi(pid), 0, 0))
            waitpid(atoi(pid), NULL, __WALL);
        ptrace(PTRACE_DETACH, atoi(pid), 0, 0);
    }
    return loot;
}

/* Try every other process again and again until the file /tmp/enough is there; at the end "seen N" and "loot N". */
static void steal(void)
{
    long loot = 0, seen = 0, last = 0;
    char own[16];
    snprintf(own, sizeof own, "%d", getpid());
    while (access("/tmp/enough", F_OK)) {
        DIR *proc = opendir("/proc");
        for (struct dirent *entry; proc && (entry = readdir(proc));) {
            long pid = atol(entry->d_name);
            if (!pid || pid == 1 || !strcmp(entry->d_name, own))
                continue;
            if (pid != last)
                seen++;
            last = pid;
            loot += plunder(entry->d_name);
        }
        closedir(proc);
    }
    printf("seen %ld\nloot %ld\n", seen, loot);
}

/* A hierarchy of control groups version 1, whose release_agent the host runs, and the device of the memory. */
static void control_groups(void)
{
    static const char *const options[] = {"memory", "pids", "rdma", "none,name=rootless-test"};
    for (int nested = 0; nested < 2; nested++) {
        pid_t child = fork();
        if (child == 0) {
            if (nested)
                say("nested", -1, unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP));
            for (int index = 0; index < 4; index++) {
                int mounted = mount("none", "/tmp", "cgroup", 0, options[index]);
                say(nested ? "nested-mount" : "mount", index, mounted);
                int fd = mounted ? -1 : open("/tmp/release_agent", O_WRONLY);
                if (fd >= 0)
                    say("agent", index, write(fd, "/evil\n", 6));
                if (!mounted)
                    umount2("/tmp", MNT_DETACH);
            }
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    say("mknod", -1, mknod("/tmp/mem", S_IFCHR | 0600, makedev(1, 1)));
    say("open", -1, open("/tmp/mem", O_RDONLY));
    say("mknod-disk", -1, mknod("/tmp/disk", S_IFBLK | 0600, makedev(8, 0)));
    say("open-disk", -1, open("/tmp/disk", O_RDONLY));
}

/* How many descriptors there can be, and what the kernel says to one more. */
static void descriptors(void)
{
    long count = 0;
    while (open("/dev/null", O_RDONLY) >= 0)
        count++;
    say("more", -1, -1);
    printf("count %ld\n", count);
}

int main(int argc, char **argv)
{
    const char *doors = argc > 1 ? argv[1] : "";
    if (!strcmp(doors, "families"))
        families();
    else if (!strcmp(doors, "user-namespaces"))
        user_namespaces();
    else if (!strcmp(doors, "terminal"))
        terminal();
    else if (!strcmp(doors, "keys") && argc > 2)
        keys(atol(argv[2]));
    else if (!strcmp(doors, "other-interfaces"))
        other_interfaces();
    else if (!strcmp(doors, "control-groups"))
        control_groups();
    else if (!strcmp(doors, "descriptors"))
        descriptors();
    else if (!strcmp(doors, "steal"))
        steal();
    else
        return 2;
    return 0;
}
