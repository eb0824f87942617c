/*
 * Runs a command for which system calls fail that a network file system, or somebody else's container, does not allow:
 *
 *     forbid NAME=ERRNO... -- COMMAND [ARGUMENT...]
 *
 * Without the right to filter at all it gives up the right to gain privileges first (seccomp(2)).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct { const char *name; int number; } known[] = {
	{"flock", SYS_flock}, {"linkat", SYS_linkat}, {"setxattr", SYS_setxattr}, {"fsetxattr", SYS_fsetxattr},
	{"renameat2", SYS_renameat2}, {"fallocate", SYS_fallocate}, {"fsopen", SYS_fsopen}, {"setns", SYS_setns},
#ifdef SYS_link
	{"link", SYS_link},
#endif
};

int main(int count, char **words)
{
	struct sock_filter code[64];
	unsigned short length = 0;
	int word, index;

	code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (word = 1; word < count && strcmp(words[word], "--"); word++) {
		char *value = strchr(words[word], '=');
		int found = 0;

		if (!value)
			return 64;
		for (index = 0; index < (int)(sizeof known / sizeof *known); index++) {
			if (strlen(known[index].name) != (size_t)(value - words[word]) ||
			    strncmp(known[index].name, words[word], value - words[word]))
				continue;
			code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, known[index].number, 0, 1);
			code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | atoi(value + 1));
			found = 1;
		}
		if (!found) {
			fprintf(stderr, "forbid: unknown: %s\n", words[word]);
			return 64;
		}
	}
	code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {length, code};

	if (word + 1 >= count)
		return 64;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) {
		if (errno != EACCES || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) {
			perror("forbid");
			return 71;
		}
	}
	execvp(words[word + 1], words + word + 1);
	perror(words[word + 1]);
	return 127;
}
