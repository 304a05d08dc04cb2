package main

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// This file stands for a framework. It owns the sockets and knows nothing of TLS. One goroutine, the loop's, calls
// all handlers; two more for each connection move its bytes.

// handler is what is called for a connection.
type handler interface {
	OnTraffic() // bytes have come, or those that were sent have gone, or there is an end
	OnStop()    // the connection should end; this may come more than once
}

// link is a connection. Its fields and methods are for the loop's goroutine.
type link struct {
	in   []byte // bytes that have come; nothing more is read before all are taken
	busy bool   // bytes are being sent: their slice is not the caller's yet
	end  error  // why no more bytes come (io.EOF for a FIN), or go

	tcp   *net.TCPConn
	loop  *loop
	h     handler
	taken chan bool   // lets read go on
	out   chan []byte // what write sends
}

// loop runs until its context is done and then until the last link has closed.
type loop struct {
	open  func(*link) (handler, error)
	tasks chan func()
	done  chan bool // closed when no more tasks are taken
	wg    sync.WaitGroup
	links map[*link]bool
}

// serve runs a loop. open makes the handler of a new connection.
func serve(ctx context.Context, listener net.Listener, open func(*link) (handler, error)) {
	p := &loop{open: open, tasks: make(chan func()), done: make(chan bool), links: map[*link]bool{}}
	p.wg.Go(func() { p.accept(ctx, listener) })
	for stop := ctx.Done(); stop != nil || len(p.links) > 0; {
		select {
		case f := <-p.tasks:
			f()
		case <-stop:
			stop = nil
			listener.Close()
			for l := range p.links {
				l.h.OnStop()
			}
		}
	}
	close(p.done)
	p.wg.Wait()
}

// post has the loop's goroutine call f. It answers false if that has ended.
func (p *loop) post(f func()) bool {
	select {
	case p.tasks <- f:
		return true
	case <-p.done:
		return false
	}
}

func (p *loop) accept(ctx context.Context, listener net.Listener) {
	for {
		c, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			time.Sleep(time.Second / 10) // such as EMFILE
			continue
		}
		l := &link{tcp: c.(*net.TCPConn), loop: p, taken: make(chan bool, 1), out: make(chan []byte, 2)}
		if !p.post(func() { p.start(ctx, l) }) {
			c.Close()
		}
	}
}

func (p *loop) start(ctx context.Context, l *link) {
	var err error
	if l.h, err = p.open(l); err != nil {
		l.tcp.Close()
		return
	}
	p.links[l] = true
	p.wg.Go(l.read)
	p.wg.Go(l.write)
	if ctx.Err() != nil {
		l.h.OnStop()
	}
}

func (l *link) read() {
	for buf := make([]byte, 16<<10); ; <-l.taken {
		n, err := l.tcp.Read(buf)
		l.loop.post(func() { l.news(buf[:n], l.busy, cmp.Or(l.end, err)) })
		if err != nil {
			return
		}
	}
}

func (l *link) write() {
	defer l.tcp.Close()
	for p := range l.out {
		_, err := l.tcp.Write(p)
		if p == nil {
			err = l.tcp.CloseWrite()
		}
		l.loop.post(func() { l.news(l.in, false, cmp.Or(err, l.end)) })
	}
}

func (l *link) news(in []byte, busy bool, end error) {
	l.in, l.busy, l.end = in, busy, end
	if l.loop.links[l] {
		l.h.OnTraffic()
	}
}

// take drops the first n of the bytes that have come.
func (l *link) take(n int) {
	if l.in = l.in[n:]; len(l.in) == 0 {
		l.taken <- true
	}
}

// send sends p, without a copy, while the link is not busy; or, at any time, nil: that is a FIN.
func (l *link) send(p []byte) {
	l.busy = true
	l.out <- p
}

// close closes the connection when all that was sent has gone.
func (l *link) close() {
	delete(l.loop.links, l)
	close(l.taken)
	close(l.out)
}
