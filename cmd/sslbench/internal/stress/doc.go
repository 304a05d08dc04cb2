// Package stress holds tests of a server under more load than it should get, and of peers that mean it ill.
//
//	TestManyConnections    as many connections as a process may have, each saying something now and then
//	TestIdle               100,000 connections that say nothing, over several servers
//	TestHandshakeStorm     50,000 handshakes, then silence
//	TestSlowloris          5,000 peers that take their time, beside 500 honest ones and newcomers
//	TestFloods             a peer that sends KeyUpdates, alerts, empty records and the like without end
//	TestRenegotiations     the same of TLS 1.2 handshakes, where they are allowed
//	TestTickets            the same of tickets, by resuming without end
//
// The servers are processes of their own: sslecho as it is built, or, for settings that it has no flag for and where the
// server's own counters are asked, this test binary with a reactor.Server. So are clients in
// large numbers, since a process may not have more files than its limit says.
//
//	test ──┬── server: sslecho, or this binary   ◄── SIGTERM, and its exit status
//	       ├── clients: this binary, a Load      ◄── a command and an answer a line
//	       └── in the test itself: the flooder and a few honest clients
//
// All honest clients compare each byte that comes back, and none may fail whatever the others do. How fast anything was is
// reported and never asserted. The ordinary form is small; STRESS=full (make stress) is what the names say, and
// writes its figures to docs/design/results.txt. STRESS_TIME=3m shortens the ten minutes of TestManyConnections.
package stress
