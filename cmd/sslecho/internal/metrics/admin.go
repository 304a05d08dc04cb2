package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
)

// What Ready may answer.
var (
	ErrStarting = errors.New("starting")
	ErrDraining = errors.New("draining: send new connections elsewhere")
)

// Bounds of the admin listener. A profile may take longer than a response by as much as its request asks for.
const (
	aliveTimeout      = 2 * time.Second
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeader         = 16 << 10
	maxClients        = 64 // others wait in the backlog
)

// Admin serves operators, over plain HTTP and without asking who they are:
//
//	/metrics        the metrics
//	/healthz        200 if the daemon is alive, else 503 with the reason
//	/readyz         200 if it wants connections, else 503 with the reason
//	/debug/pprof/   Go's profiles, with Pprof
//
// The fields must not be changed once it serves.
type Admin struct {
	// Addr is what Listen listens on: "host:port" or "unix:/path".
	Addr string
	// Pprof serves Go's profiles too, which tell much and cost CPU.
	Pprof bool
	// Metrics is what /metrics shows; required.
	Metrics *Metrics
	// Alive answers nil if the daemon works, and must heed its context, which ends after 2 s. It may be nil.
	Alive func(context.Context) error
	// Ready answers why no connections should be sent here, such as ErrStarting or ErrDraining. It may be nil.
	Ready func() error
	// Log hears of what goes wrong. Default: slog.Default().
	Log *slog.Logger

	once   sync.Once
	server *http.Server
}

// Listen opens the socket, so that a fault shows before anything else is done. Serve serves it, or another listener
// that was inherited.
func (a *Admin) Listen() (net.Listener, error) {
	network, address, hint := "tcp", a.Addr, "stop the process that listens there, or use another address"
	if path, ok := strings.CutPrefix(a.Addr, "unix:"); ok {
		network, address, hint = "unix", path, "stop the process that listens there, or remove the socket if there is none"
	}
	l, err := net.Listen(network, address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("--admin: %w: %s", err, hint)
	case err != nil:
		return nil, fmt.Errorf("--admin: %w", err)
	}
	return l, nil
}

// Serve answers what comes to l, which it owns, until Shutdown; then it returns http.ErrServerClosed.
func (a *Admin) Serve(l net.Listener) error {
	return a.http().Serve(netutil.LimitListener(l, maxClients))
}

// Shutdown closes the listeners, waits for requests under way until ctx is done, and cuts off the rest. Then it
// returns ctx's error.
func (a *Admin) Shutdown(ctx context.Context) error {
	err := a.http().Shutdown(ctx)
	if err != nil {
		a.http().Close()
	}
	return err
}

func (a *Admin) http() *http.Server {
	a.once.Do(func() {
		log := a.Log
		if log == nil {
			log = slog.Default()
		}
		log = log.With("listener", "admin")
		a.server = &http.Server{
			Handler:           a.handler(log),
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
			ReadHeaderTimeout: readHeaderTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeader,
		}
	})
	return a.server
}

// handler answers GET and HEAD alone; the mux refuses other methods by itself.
func (a *Admin) handler(log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	index := "sslecho\n\n/metrics\n/healthz\n/readyz\n"
	mux.Handle("GET /metrics", a.Metrics.Handler(log))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), aliveTimeout)
		defer cancel()
		var err error
		if a.Alive != nil {
			err = a.Alive(ctx)
		}
		answer(w, err)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		var err error
		if a.Ready != nil {
			err = a.Ready()
		}
		answer(w, err)
	})
	if a.Pprof {
		index += "/debug/pprof/\n"
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, index) })
	return mux
}

// answer is 200 for nil, and otherwise 503 with the reason.
func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		text(w, http.StatusServiceUnavailable, err.Error()+"\n")
		return
	}
	text(w, http.StatusOK, "ok\n")
}

// text is a response in plain text. A client that does not wait for it has lost nothing.
func text(w http.ResponseWriter, status int, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(s))
}
