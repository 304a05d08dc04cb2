// Package compare runs servers side by side and measures what a unit of work
// costs each of them.
//
//	workload ─► for each server: process on core 0, load on core 1
//	         └► rounds of slices of 60 ms, interleaved: server 1, 2, 3, 2, 3, 1, …
//	              CPU time before and after a Run of the load ÷ units done
//
// A Run leaves nothing under way, so the CPU time between its ends belongs to its
// units. The servers take turns every 60 ms, and ratios are taken round by round:
// what the machine does meanwhile for others hits all of them.
package compare
