/*
 * Preloaded into Debian's User-Mode Linux (6.1) on processors with AMX. Their extended register set is larger than UML
 * keeps, and the host's kernel takes it as a whole or not at all: without this UML ends at boot. Reads the whole set,
 * lays UML's part over it, drops the bits of the parts that UML has not kept, and writes the whole.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define GETREGSET 0x4204L
#define SETREGSET 0x4205L
#define XSTATE 0x202L
#define HEADER 512        /* where the set says which of its parts are in use */
#define AMX (3UL << 17)

long ptrace(int request, ...) {
  va_list arguments;
  va_start(arguments, request);
  long pid = (int)va_arg(arguments, long);
  long address = va_arg(arguments, long);
  long data = va_arg(arguments, long);
  va_end(arguments);

  if (request == SETREGSET && (unsigned)address == XSTATE) {
    static __thread char set[16384] __attribute__((aligned(64)));
    struct iovec *given = (struct iovec *)data;
    struct iovec whole = {set, sizeof set};
    if (syscall(SYS_ptrace, GETREGSET, pid, XSTATE, &whole) == 0 && whole.iov_len > given->iov_len) {
      memcpy(set, given->iov_base, given->iov_len);
      *(unsigned long *)(set + HEADER) &= ~AMX;
      return syscall(SYS_ptrace, SETREGSET, pid, XSTATE, &whole);
    }
  }
  if (request >= 1 && request <= 3) { /* PEEK: the system call writes what the function returns */
    long value;
    long result = syscall(SYS_ptrace, (long)request, pid, address, &value);
    if (result != 0) return result;
    errno = 0;
    return value;
  }
  return syscall(SYS_ptrace, (long)request, pid, address, data);
}
