package sslhttp

import (
	"bytes"
	"context"
	"net/http"
	"testing"

	"github.com/coder/websocket"
)

// TestWebSocket: a WebSocket leads through an Upgrade of ours at either end, and its messages come back whole.
func TestWebSocket(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 21)
		for {
			kind, p, err := c.Read(ctx)
			if err != nil {
				if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
					t.Error("the server reads:", err)
				}
				return
			}
			if err := c.Write(ctx, kind, p); err != nil {
				t.Error("the server writes:", err)
				return
			}
		}
	})
	s := serve(t, &http.Server{Handler: echo}, serverContext(t))
	theirs := goServer(t, protoHTTP1, echo)
	own := first(ourClient(t, clientContext(t, only(protoHTTP1))))
	own.Timeout = 0
	foreign := goClient(t, protoHTTP1)
	foreign.Timeout = 0
	for _, c := range []struct {
		name   string
		client *http.Client
		url    string
	}{
		{"go to ours", foreign, s.url}, {"ours to ours", own, s.url}, {"ours to go", own, theirs.URL},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, _, err := websocket.Dial(ctx, c.url, &websocket.DialOptions{HTTPClient: c.client})
			must(t, err)
			defer conn.CloseNow()
			conn.SetReadLimit(1 << 21)
			for _, n := range []int{0, 1, 100, 1 << 14, 1 << 20} {
				sent := bytes.Repeat([]byte{byte(n), 1, 2}, n)[:n]
				must(t, conn.Write(ctx, websocket.MessageBinary, sent))
				kind, got, err := conn.Read(ctx)
				must(t, err)
				if kind != websocket.MessageBinary || !bytes.Equal(got, sent) {
					t.Errorf("%d bytes came back as %v, %d bytes", n, kind, len(got))
				}
			}
			must(t, conn.Close(websocket.StatusNormalClosure, ""))
		})
	}
}
