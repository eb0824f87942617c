/* A hostile process of a container: until the file /stop appears, looks into every other process that it sees, for what
 * is the host's. Prints a line for each thing found: PID WHAT. Prints "looked N" at the end, N being how often it saw a
 * process that had not become a program of the container yet.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void found(int pid, const char *what)
{
    printf("%d %s\n", pid, what);
    fflush(stdout);
}

static long slurp(int pid, const char *name, char *text, long size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return -1;
    long length = read(fd, text, size - 1);
    close(fd);
    text[length < 0 ? 0 : length] = 0;
    return length;
}

/* Whether a descriptor of the process is more than a socket, which nobody can open again: the one to the caller closes
 * last. */
static int is_open(int pid, const char *number)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, number);
    long length = readlink(path, text, sizeof text - 1);
    return length > 0 && strncmp(text, "socket:", 7);
}

/* Whether a link of the process tells a place of the host. */
static int is_host(int pid, const char *name)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    long length = readlink(path, text, sizeof text - 1);
    if (length <= 0)
        return 0;
    text[length] = 0;
    return strstr(text, "python") || strstr(text, "unreachable");
}

static void look(int pid, const char *secret, long *seen)
{
    static char text[65536];
    char path[64], name[64] = "";
    long length = slurp(pid, "environ", text, sizeof text);
    if (length > 0 && memmem(text, length, secret, strlen(secret)))
        found(pid, "environ");
    length = slurp(pid, "cmdline", text, sizeof text);
    if (length > 0 && memmem(text, length, secret, strlen(secret)))
        found(pid, "cmdline");
    slurp(pid, "comm", name, sizeof name);
    /* The joining process still has the interpreter's name; what it becomes is a program of the image. */
    if (strncmp(name, "python", 6) && strncmp(name, "rootless", 8))
        return;
    ++*seen;
    /* In the middle of execve(2) a process may be looked into under its old name, even before descriptors are closed
     * that are marked so. It is what is seen that counts. */
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        if (atoi(entry->d_name) > 2 && is_open(pid, entry->d_name))
            found(pid, "fd");
    if (directory)
        closedir(directory);
    if (is_host(pid, "exe"))
        found(pid, "exe");
    if (is_host(pid, "cwd"))
        found(pid, "cwd");
    if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) {
        if (is_host(pid, "exe"))
            found(pid, "ptrace");
        ptrace(PTRACE_INTERRUPT, pid, 0, 0);
        waitpid(pid, 0, __WALL);
        ptrace(PTRACE_DETACH, pid, 0, 0);
    }
}

int main(int count, char **words)
{
    long seen = 0;
    puts("ready");
    fflush(stdout);
    while (count > 1 && access("/stop", F_OK)) {
        DIR *proc = opendir("/proc");
        struct dirent *entry;
        while (proc && (entry = readdir(proc))) {
            int pid = atoi(entry->d_name);
            if (pid > 1 && pid != getpid())
                look(pid, words[1], &seen);
        }
        if (proc)
            closedir(proc);
    }
    printf("looked %ld\n", seen);
    return 0;
}
