package prommetrics_test

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spacemonad/go-openssl/adapters/prommetrics"
	"github.com/spacemonad/go-openssl/reactor"
)

func Example() {
	var server reactor.Server // with a Handler and a Context
	registry := prometheus.NewRegistry()
	registry.MustRegister(prommetrics.New("myserver", &server))
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
}
