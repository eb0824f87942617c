/* Runs a command as root would start it, and lets one system call of it, or of a process that it started, end badly:

     inject REPORT NUMBER ERROR INTERPRETER COMMAND...

   Counted are the calls that change a state, over all processes, from the moment the command's first process executes
   INTERPRETER. What the program of a container calls does not count. At the call NUMBER (from 1; 0: none) its process is
   killed when ERROR is 0, else the call fails with ERROR without being made; only calls that may fail so count then.
   On the descriptor REPORT it tells `hit CALL PID PROGRAM` and, when the command has ended, `end STATUS CALLS`. It stays
   until every process has ended; when it is killed they are too. Only for x86-64. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a call does, and so which errors it may meet. */
enum {
    FILES = 1,   /* changes a file system: every error of a disk, and no memory */
    DATA = 2,    /* writes to its first descriptor: as FILES if that is a file */
    OPENS = 4,   /* makes a descriptor */
    CREATES = 8, /* changes a file system if its flags say so */
    SPACES = 16, /* namespaces, mounts and processes: no memory, or over a limit (ENOSPC) */
    QUIET = 32,  /* an error is not to be expected */
};

struct call {
    int number;
    int kind;
    const char *name;
};

#define CALL(name, kind) {SYS_##name, kind, #name}
static const struct call calls[] = {
    CALL(open, OPENS | CREATES), CALL(openat, OPENS | CREATES), CALL(openat2, OPENS | CREATES),
    CALL(creat, OPENS | FILES), CALL(write, DATA), CALL(writev, DATA), CALL(pwrite64, DATA), CALL(pwritev, DATA),
    CALL(sendfile, DATA), CALL(copy_file_range, FILES), CALL(truncate, FILES), CALL(ftruncate, FILES),
    CALL(fallocate, FILES), CALL(rename, FILES), CALL(renameat, FILES), CALL(renameat2, FILES), CALL(link, FILES),
    CALL(linkat, FILES), CALL(symlink, FILES), CALL(symlinkat, FILES), CALL(unlink, FILES), CALL(unlinkat, FILES),
    CALL(rmdir, FILES), CALL(mkdir, FILES), CALL(mkdirat, FILES), CALL(mknod, FILES), CALL(mknodat, FILES),
    CALL(chmod, FILES), CALL(fchmod, FILES), CALL(fchmodat, FILES), CALL(chown, FILES), CALL(fchown, FILES),
    CALL(lchown, FILES), CALL(fchownat, FILES), CALL(setxattr, FILES), CALL(lsetxattr, FILES), CALL(fsetxattr, FILES),
    CALL(removexattr, FILES), CALL(lremovexattr, FILES), CALL(fremovexattr, FILES), CALL(utimensat, FILES),
    CALL(fsync, FILES), CALL(fdatasync, FILES), CALL(syncfs, FILES), CALL(flock, QUIET), CALL(mount, SPACES),
    CALL(umount2, QUIET), CALL(move_mount, SPACES), CALL(open_tree, SPACES | OPENS), CALL(fsopen, SPACES | OPENS),
    CALL(fsmount, SPACES | OPENS), CALL(fsconfig, SPACES), CALL(mount_setattr, SPACES), CALL(pivot_root, SPACES),
    CALL(chroot, SPACES), CALL(clone, SPACES), CALL(clone3, SPACES), CALL(fork, SPACES), CALL(vfork, SPACES),
    CALL(execve, SPACES), CALL(setns, SPACES), CALL(unshare, SPACES), CALL(kill, QUIET),
    CALL(pidfd_send_signal, QUIET), CALL(setresuid, QUIET), CALL(setresgid, QUIET), CALL(setgroups, QUIET),
    CALL(capset, QUIET), CALL(seccomp, SPACES), CALL(sethostname, QUIET), CALL(setsid, QUIET), CALL(bind, FILES),
    CALL(sendmsg, QUIET), CALL(sendto, QUIET), CALL(socket, OPENS), CALL(socketpair, OPENS), CALL(pipe2, OPENS),
    CALL(dup, OPENS), CALL(memfd_create, OPENS), CALL(pidfd_open, OPENS), CALL(epoll_create1, OPENS),
    CALL(inotify_init1, OPENS),
};
enum { COUNT = sizeof calls / sizeof *calls };

static struct stat interpreter, root;
static FILE *report;

static void fail(const char *what)
{
    perror(what);
    exit(70);
}

static int same(const char *format, pid_t pid, const struct stat *other)
{
    char path[64];
    struct stat found;
    snprintf(path, sizeof path, format, pid);
    return stat(path, &found) == 0 && found.st_dev == other->st_dev && found.st_ino == other->st_ino;
}

static int of_container(pid_t pid)
{
    return !same("/proc/%d/exe", pid, &interpreter) && !same("/proc/%d/root", pid, &root);
}

/* The filter stops at the calls of the list; all others, and those of 32-bit programs, it lets pass. */
static void filter(void)
{
    struct sock_filter code[COUNT + 6];
    int at = 0;
    code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, COUNT + 1);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < COUNT; i++)
        code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, COUNT - i, 0);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    struct sock_fprog program = {at, code};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
        fail("seccomp");
}

static int flags_of(pid_t pid, int number, const struct user_regs_struct *regs)
{
    if (number == SYS_open)
        return (int)regs->rsi;
    if (number == SYS_openat)
        return (int)regs->rdx;
    errno = 0;
    return (int)ptrace(PTRACE_PEEKDATA, pid, (void *)regs->rdx, 0); /* struct open_how begins with the flags */
}

static int is_file(pid_t pid, int fd)
{
    char path[64];
    struct stat found;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
    return fd > 2 && stat(path, &found) == 0 && S_ISREG(found.st_mode);
}

/* Whether the call of the stopped process is one of those that count. */
static int counts(pid_t pid, const struct call *call, const struct user_regs_struct *regs, int error)
{
    int kind = call->kind;
    if (kind & CREATES && flags_of(pid, call->number, regs) & (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY)))
        kind |= FILES;
    if (error == 0)
        return !(kind & OPENS) || kind & (FILES | SPACES);
    if (kind & CREATES && !(kind & FILES))
        return 0;
    if (kind & DATA && is_file(pid, (int)regs->rdi))
        kind |= FILES;
    if (error == EMFILE)
        return kind & OPENS;
    if (error == ENOMEM)
        return kind & (FILES | SPACES | OPENS);
    return kind & FILES || (error == ENOSPC && kind & SPACES);
}

static const struct call *known(long number)
{
    for (int i = 0; i < COUNT; i++)
        if (calls[i].number == number)
            return &calls[i];
    return NULL;
}

static void tell_hit(pid_t pid, const struct call *call)
{
    char path[64], program[256];
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    ssize_t length = readlink(path, program, sizeof program - 1);
    program[length > 0 ? length : 0] = 0;
    char *name = strrchr(program, '/');
    fprintf(report, "hit %s %d %s\n", call->name, pid, name ? name + 1 : program);
}

/* Run on from a stop before a call; true if this was the one. */
static int meet(pid_t pid, long wanted, int error, long *number)
{
    struct user_regs_struct regs;
    if (ptrace(PTRACE_GETREGS, pid, 0, &regs))
        return 0;
    const struct call *call = known((long)regs.orig_rax);
    if (!call || of_container(pid) || !counts(pid, call, &regs, error) || ++*number != wanted)
        return 0;
    tell_hit(pid, call);
    if (error == 0) {
        kill(pid, SIGKILL);
        return 1;
    }
    regs.orig_rax = (unsigned long long)-1;
    regs.rax = (unsigned long long)-error;
    ptrace(PTRACE_SETREGS, pid, 0, &regs);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 6 || stat(argv[4], &interpreter) || stat("/", &root))
        fail("inject");
    int fd = atoi(argv[1]), error = atoi(argv[3]), begun = 0, ended = 0;
    long wanted = atol(argv[2]), number = 0;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    report = fdopen(fd, "w");
    setvbuf(report, NULL, _IOLBF, 0);
    pid_t first = fork();
    if (first == 0) {
        raise(SIGSTOP);
        filter();
        execvp(argv[5], argv + 5);
        fail(argv[5]);
    }
    int status;
    waitpid(first, &status, WUNTRACED);
    long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
                   PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SEIZE, first, 0, options))
        fail("ptrace");
    kill(first, SIGCONT);
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
        if (!WIFSTOPPED(status)) {
            if (pid == first && !ended) {
                ended = 1;
                fprintf(report, "end %d %ld\n", WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status), number);
            }
            continue;
        }
        int event = status >> 16, signal = WSTOPSIG(status);
        if (event == PTRACE_EVENT_STOP && (signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU)) {
            ptrace(PTRACE_LISTEN, pid, 0, 0);
            continue;
        }
        if (event == PTRACE_EVENT_EXEC && pid == first && same("/proc/%d/exe", pid, &interpreter))
            begun = 1;
        if (event == PTRACE_EVENT_SECCOMP && begun && (wanted == 0 || number < wanted))
            meet(pid, wanted, error, &number);
        ptrace(PTRACE_CONT, pid, 0, event ? 0 : signal);
    }
    return 0;
}
