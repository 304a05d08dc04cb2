// Package faults makes the kernel, and the allocator of OpenSSL, give the answers that they give too
// seldom to wait for. It is linked into its own tests alone, which run a whole connection with
// each fault at each call in turn.
//
//	reactor ──accept4, epoll_ctl, epoll_wait──► sys.Accept4 …   variables, replaced here
//	cssl    ──recv, send, calloc, realloc─────► libc            ld --wrap, see shim.c
//	OpenSSL ──malloc, realloc─────────────────► libc            CRYPTO_set_mem_functions
//
// # Why this way
//
// Go makes its system calls itself, so that no preloaded library sees them; and a thread is not a goroutine, so
// that strace, which counts calls for each thread, cannot say which connection it hits. Three variables in
// a package that only reactor imports are what is left, and what is simplest.
// C's calls need no seam at all. The linker turns them, in the test binary only, into calls of the shim. In one
// process the test knows which descriptor belongs to which connection and can look at
// what is left afterwards, and the sanitizers work as they do elsewhere. OpenSSL takes another
// allocator only before it allocates, and package cssl initialises it: hence the constructor in C.
package faults
