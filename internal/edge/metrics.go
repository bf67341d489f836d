package edge

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts requests.
type Metrics struct {
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	received prometheus.Counter
	sent     prometheus.Counter
	inFlight prometheus.Gauge
}

// NewMetrics registers the metrics of requests.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "slipway_http_requests_total", Help: "Requests by route, method and status."}, []string{"route", "method", "status"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "slipway_http_request_duration_seconds", Help: "Time from a request's headers to the end of its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60}}, []string{"route", "method"}),
		received: prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_http_received_bytes_total", Help: "Bytes of request bodies."}),
		sent:     prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_http_sent_bytes_total", Help: "Bytes of answers, without headers."}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_http_requests_in_flight", Help: "Requests that are being answered."}),
	}
	reg.MustRegister(m.requests, m.latency, m.received, m.sent, m.inFlight)
	return m
}

func (m *Metrics) begin() (done func(method, route string, status int, read, written int64, took time.Duration)) {
	if m == nil {
		return func(string, string, int, int64, int64, time.Duration) {}
	}
	m.inFlight.Inc()
	return func(method, route string, status int, read, written int64, took time.Duration) {
		m.inFlight.Dec()
		if route == "" {
			route = "other"
		}
		switch method {
		case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE":
		default:
			method = "other" // outsiders must not make up label values
		}
		m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
		m.latency.WithLabelValues(route, method).Observe(took.Seconds())
		m.received.Add(float64(read))
		m.sent.Add(float64(written))
	}
}
