// Package faults injects rare errors of the kernel and of OpenSSL's allocator.
// Only its own tests and those of package soak link it. They run a whole
// connection with each fault at each call in turn.
//
//	reactor ──accept4, epoll_ctl, epoll_wait─► sys   variables
//	          recv, send (plain text)
//	cssl    ──recv, send, calloc, realloc────► libc  ld --wrap (shim.c)
//	OpenSSL ──malloc, realloc────────────────► libc  CRYPTO_set_mem_functions
//
// # Why this way
//
// Go makes its system calls itself, so a preloaded library does not see them.
// strace counts calls by thread, and a goroutine is not a thread, so strace
// cannot tell which connection a call belongs to. The simplest remaining way is
// variables in a package that only reactor imports.
//
// C's calls need no such variables: in the test binary only, the linker turns
// them into calls of the shim. Everything is in one process, so the test knows
// which descriptor belongs to which connection and can check what is left
// afterwards, and the sanitizers work as usual. OpenSSL accepts another
// allocator only before its first allocation, and package cssl initializes it;
// so the shim installs the allocator in a constructor of C.
package faults
