/* Lets the kernel of User Mode Linux set the registers of its processes where the processor has more of them than it
 * knows of (AMX): Linux takes the whole extended state or none (ptrace(2), PTRACE_SETREGSET, EFAULT).
 *
 * Loaded into the kernel by LD_PRELOAD. What is not given has its initial value, which its bit in the header says.
 */
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define HEADER 512         /* offset of the bits that tell which parts are there (Intel SDM, volume 1, 13.4) */
#define AMX (3ULL << 17)   /* the tiles and their configuration, which lie behind all else */
#define LARGEST (1 << 16)

/* Not on the stack: those of the kernel are small. It has one processor, and is not interrupted here by itself. */
static char whole[LARGEST];
static size_t size;

static long set_whole(pid_t pid, const struct iovec *given)
{
	struct iovec all = {whole, LARGEST};
	uint64_t parts;

	if (!size) {
		if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &all) < 0)
			return -1;
		size = all.iov_len;
	}
	if (given->iov_len < HEADER + sizeof parts || given->iov_len >= size) {
		errno = EFAULT;
		return -1;
	}
	memset(whole, 0, size);
	memcpy(whole, given->iov_base, given->iov_len);
	memcpy(&parts, whole + HEADER, sizeof parts);
	parts &= ~AMX;
	memcpy(whole + HEADER, &parts, sizeof parts);
	all.iov_len = size;
	return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &all);
}

long ptrace(enum __ptrace_request request, ...)
{
	long result, word = 0;
	void *address, *data;
	va_list rest;
	pid_t pid;

	va_start(rest, request);
	pid = va_arg(rest, pid_t);
	address = va_arg(rest, void *);
	data = va_arg(rest, void *);
	va_end(rest);
	if (request >= PTRACE_PEEKTEXT && request <= PTRACE_PEEKUSER) {
		/* The C library gives as the result what the system call stores. */
		result = syscall(SYS_ptrace, request, pid, address, &word);
		if (result < 0)
			return result;
		errno = 0;
		return word;
	}
	result = syscall(SYS_ptrace, request, pid, address, data);
	if (result < 0 && errno == EFAULT && request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE)
		return set_whole(pid, data);
	return result;
}
