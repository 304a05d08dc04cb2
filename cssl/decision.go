package cssl

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// ErrDecisionTimeout is returned when neither Accept nor Refuse was called
// within Config.DecisionTimeout.
var ErrDecisionTimeout = errors.New("the application did not decide in time")

// ErrCallbackPanic is returned when Config.ClientHello, VerifyPeer or
// VerifyConnection, a Signer, or an Extension's callback panicked.
var ErrCallbackPanic = errors.New("the application's callback panicked")

// errRefused is the error of Refuse(nil).
var errRefused = errors.New("refused by the application")

func refusal(err error) error {
	if err == nil {
		return errRefused
	}
	return err
}

// decision is a decision of the application, made at once or later.
type decision struct {
	done chan struct{} // closed when it is made

	mu   sync.Mutex
	made bool
	x    *Context
	err  error
	// vouched is set if the application has verified chains.
	vouched bool
	chains  [][]*x509.Certificate
	wake    func() // nil while nothing waits
	timer   *time.Timer
}

// decide makes the decision. If it was made before, decide does nothing.
func (d *decision) decide(x *Context, err error) {
	d.mu.Lock()
	if d.made {
		d.mu.Unlock()
		return
	}
	d.made, d.x, d.err = true, x, err
	if d.timer != nil {
		d.timer.Stop()
	}
	wake := d.wake
	close(d.done) // under mu: when ask sees made, isMade must return true
	d.mu.Unlock()
	if wake != nil {
		wake()
	}
}

// vouch accepts a certificate with chains that the application has verified.
func (d *decision) vouch(chains [][]*x509.Certificate) {
	d.mu.Lock()
	if !d.made {
		d.vouched, d.chains = true, chains
	}
	d.mu.Unlock()
	d.decide(nil, nil)
}

// cancel makes the decision for a closed connection. It does not call wake, but
// closes done.
func (d *decision) cancel() {
	d.mu.Lock()
	d.wake = nil
	d.mu.Unlock()
	d.decide(nil, net.ErrClosed)
}

func (d *decision) isMade() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// ask calls the application. If the decision is made after ask returned, wake
// is called, by another goroutine. wake may be nil.
func ask(what string, timeout time.Duration, wake func(), call func(d *decision)) *decision {
	d := &decision{done: make(chan struct{})}
	func() {
		defer func() {
			if v := recover(); v != nil {
				d.decide(nil, fmt.Errorf("%s: %w: %v", what, ErrCallbackPanic, v))
			}
		}()
		call(d)
	}()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.made {
		d.wake = wake
		d.timer = time.AfterFunc(timeout, func() { d.decide(nil, fmt.Errorf("%s: %w", what, ErrDecisionTimeout)) })
	}
	return d
}
