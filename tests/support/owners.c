/* What changing owners and ids answers, in every form and with every mistake: lines "CASE RESULT ERRNO".
 *
 * The same is to come out in a container with a range of subordinate ids and in one without. Given a word: the ids that
 * this process has, as a child of it sees them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef SYS_chown32
#define CHOWN SYS_chown32
#define LCHOWN SYS_lchown32
#define FCHOWN SYS_fchown32
#define GETRESUID SYS_getresuid32
#define GETRESGID SYS_getresgid32
#define SETRESUID SYS_setresuid32
#else
#define CHOWN SYS_chown
#define LCHOWN SYS_lchown
#define FCHOWN SYS_fchown
#define GETRESUID SYS_getresuid
#define GETRESGID SYS_getresgid
#define SETRESUID SYS_setresuid
#endif

static void say(const char *name, long result)
{
    printf("%s %ld %d\n", name, result, result < 0 ? errno : 0);
    fflush(stdout);
}

static void *other(void *unused)
{
    (void)unused;
    say("thread", geteuid());
    say("thread chown", chown("/srv/o/f", 1, 1));
    return 0;
}

static void on_alarm(int number)
{
    (void)number;
}

int main(void)
{
    char lengthy[5000];
    unsigned int r = 9, e = 9, s = 9;
    struct stat status;
    memset(lengthy, 'a', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = 0;
    mkdir("/srv/o", 0755);
    close(open("/srv/o/f", O_CREAT | O_RDWR, 06755));
    chmod("/srv/o/f", 06755);
    symlink("f", "/srv/o/l");
    symlink("loop", "/srv/o/loop");
    symlink("none", "/srv/o/dangling");
    mkfifo("/srv/o/p", 0600);
    int directory = open("/srv/o", O_RDONLY), file = open("/srv/o/f", O_RDONLY), handle = open("/srv/o/f", O_PATH);
    int link = open("/srv/o/l", O_PATH | O_NOFOLLOW), pipes[2];
    pipe(pipes);

    say("chown", syscall(CHOWN, "/srv/o/f", 5, 6));
    stat("/srv/o/f", &status);
    say("set-id bits afterwards", status.st_mode & 07777);
    say("uid alone", syscall(CHOWN, "/srv/o/f", 7, -1));
    say("gid alone", syscall(CHOWN, "/srv/o/f", -1, 8));
    say("neither", syscall(CHOWN, "/srv/o/f", -1, -1));
    say("lchown", syscall(LCHOWN, "/srv/o/l", 9, 10));
    say("lchown dangling", syscall(LCHOWN, "/srv/o/dangling", 9, 10));
    say("chown dangling", syscall(CHOWN, "/srv/o/dangling", 9, 10));
    say("loop", syscall(CHOWN, "/srv/o/loop", 9, 10));
    say("fifo", syscall(CHOWN, "/srv/o/p", 11, 12));
    say("missing", syscall(CHOWN, "/srv/o/none", 5, 6));
    say("below a file", syscall(CHOWN, "/srv/o/f/x", 5, 6));
    say("file with a slash", syscall(CHOWN, "/srv/o/f/", 5, 6));
    say("empty", syscall(CHOWN, "", 5, 6));
    say("bad pointer", syscall(CHOWN, (char *)16, 5, 6));
    say("null", syscall(CHOWN, 0, 5, 6));
    say("long", syscall(CHOWN, lengthy, 5, 6));
    say("long name", syscall(CHOWN, lengthy + sizeof lengthy - 300, 5, 6));
    say("proc", syscall(CHOWN, "/proc/version", 5, 6));
    say("fchown", syscall(FCHOWN, file, 13, 14));
    say("fchown directory", syscall(FCHOWN, directory, 15, 16));
    say("fchown pipe", syscall(FCHOWN, pipes[0], 15, 16));
    say("fchown closed", syscall(FCHOWN, 77, 5, 6));
    say("fchown negative", syscall(FCHOWN, -1, 5, 6));
    say("fchown O_PATH", syscall(FCHOWN, handle, 5, 6));
    say("at", syscall(SYS_fchownat, directory, "l", 17, 18, 0));
    say("at link", syscall(SYS_fchownat, directory, "l", 19, 20, AT_SYMLINK_NOFOLLOW));
    say("at absolute", syscall(SYS_fchownat, -1, "/srv/o/p", 21, 22, 0));
    say("at closed", syscall(SYS_fchownat, 77, "f", 5, 6, 0));
    say("at file", syscall(SYS_fchownat, file, "f", 5, 6, 0));
    say("at itself", syscall(SYS_fchownat, handle, "", 23, 24, AT_EMPTY_PATH));
    say("at link itself", syscall(SYS_fchownat, link, "", 25, 26, AT_EMPTY_PATH));
    say("at empty", syscall(SYS_fchownat, directory, "", 5, 6, 0));
    say("at flags", syscall(SYS_fchownat, directory, "f", 5, 6, 0x8000));
    chdir("/srv/o");
    say("relative", syscall(CHOWN, "../o/./f", 27, 28));
    say("at working directory", syscall(SYS_fchownat, AT_FDCWD, "", 29, 30, AT_EMPTY_PATH));
    unlink("/srv/o/p");
    int gone = open("/srv/o/gone", O_CREAT | O_RDWR, 0600);
    unlink("/srv/o/gone");
    say("fchown of what is gone", syscall(FCHOWN, gone, 5, 6));

    say("getresuid bad pointer", syscall(GETRESUID, &r, (int *)16, &s));
    say("setresuid half", syscall(SETRESUID, -1, 50, -1));
    say("getresuid", syscall(GETRESUID, &r, &e, &s) * 1000000 + r * 10000 + e * 100 + s);
    say("back", syscall(SETRESUID, -1, 0, -1));
    say("setgid", setgid(60));
    say("setuid", setuid(70));
    say("getresgid", syscall(GETRESGID, &r, &e, &s) * 1000000 + r * 10000 + e * 100 + s);
    say("uid", getuid());
    say("effective gid", getegid());
    say("root again", setuid(0));
    say("chown as other", chown("/srv/o/f", 1, 1));
    pthread_t thread;
    pthread_create(&thread, 0, other, 0);
    pthread_join(thread, 0);
    if (!fork()) {
        say("child", getuid());
        if (!fork()) {
            say("grandchild", getgid());
            _exit(0);
        }
        wait(0);
        _exit(0);
    }
    wait(0);
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, 0);
    ualarm(200, 200);
    long wrong = 0;
    for (int i = 0; i < 3000; i++)
        wrong += getuid() != 70;
    ualarm(0, 0);
    say("wrong among signals", wrong);
    return 0;
}
